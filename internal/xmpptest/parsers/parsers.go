// Package parsers asks the programs around a room, for tests, whether they can
// read a stanza: Prosody's parser, which is expat, the JDK's, which is jicofo's,
// and Chromium's DOMParser.
package parsers

import (
	"bufio"
	"bytes"
	_ "embed"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/chromedp/chromedp"

	"vnode/internal/xmpptest/browser"
	"vnode/internal/xmpptest/prosody"
)

//go:embed testdata/rewrite.lua
var rewriteScript string

//go:embed testdata/Stax.java
var staxSource []byte

// ErrNoJava is the error of [JDK] where Java is not installed.
var ErrNoJava = errors.New("java is not installed")

// sources finds where Prosody keeps its modules, in the program's own text.
var (
	sources     = regexp.MustCompile(`(?m)^CFG_SOURCEDIR='([^']+)'`)
	interpreter = regexp.MustCompile(`^#!(?:/usr/bin/env )?(\S+)`)
)

// Prosody reads stanzas with the parser and the modules of the installed Prosody
// and returns how it writes them again, "" for what it does not read.
func Prosody(stanzas []string) ([]string, error) { return inProsody(stanzas) }

// Expat reads each stanza as a document of its own, with the parser that Prosody
// has, and returns it, "" for what it does not read.
func Expat(stanzas []string) ([]string, error) { return inProsody(stanzas, "alone") }

func inProsody(stanzas []string, mode ...string) ([]string, error) {
	program, err := prosody.Find()
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(program)
	if err != nil {
		return nil, err
	}
	dir, lua := sources.FindSubmatch(text), interpreter.FindSubmatch(text)
	if dir == nil || lua == nil {
		return nil, fmt.Errorf("%s does not say where its sources are", program)
	}
	var in bytes.Buffer
	for _, s := range stanzas {
		fmt.Fprintf(&in, "%d\n%s", len(s), s)
	}
	script, remove, err := tempFile("rewrite.lua", []byte(rewriteScript))
	if err != nil {
		return nil, err
	}
	defer remove()
	out, err := run(&in, string(lua[1]), append([]string{script, string(dir[1])}, mode...)...)
	if err != nil {
		return nil, err
	}
	return readRewritten(out, len(stanzas))
}

func readRewritten(out []byte, n int) ([]string, error) {
	r := bufio.NewReader(bytes.NewReader(out))
	all := make([]string, n)
	for i := range all {
		line, err := r.ReadString('\n')
		if err != nil {
			return nil, fmt.Errorf("answer %d of %d: %w", i, n, err)
		}
		length, err := strconv.Atoi(strings.TrimSpace(line))
		if err != nil {
			return nil, err
		}
		b := make([]byte, max(length, 0))
		if _, err := io.ReadFull(r, b); err != nil {
			return nil, err
		}
		all[i] = string(b)
	}
	return all, nil
}

// JDK reads stanzas with the JDK's StAX parser and returns what it throws, ""
// for nothing. The error is [ErrNoJava] where there is no Java.
func JDK(stanzas []string) ([]string, error) {
	java, err := exec.LookPath("java")
	if err != nil {
		return nil, ErrNoJava
	}
	source, remove, err := tempFile("Stax.java", staxSource)
	if err != nil {
		return nil, err
	}
	defer remove()
	var in bytes.Buffer
	for _, s := range stanzas {
		in.Write(binary.BigEndian.AppendUint32(nil, uint32(len(s))))
		in.WriteString(s)
	}
	out, err := run(&in, java, source)
	if err != nil {
		return nil, err
	}
	thrown := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	if len(thrown) != len(stanzas) {
		return nil, fmt.Errorf("java answered %d of %d", len(thrown), len(stanzas))
	}
	return thrown, nil
}

// parse is what strophe.js does with each message of a WebSocket.
const parse = `(stanzas => stanzas.map(s => {
	const errors = new DOMParser().parseFromString(s, 'text/xml').getElementsByTagName('parsererror');
	return errors.length ? errors[0].textContent : '';
}))(%s)`

// Chromium reads stanzas with a tab's DOMParser and returns what it complains
// of, "" for nothing.
func Chromium(tab *browser.Tab, stanzas []string) ([]string, error) {
	var all []string
	for len(stanzas) > 0 {
		n, size := 0, 0
		for n < len(stanzas) && size < 1<<20 {
			size += len(stanzas[n])
			n++
		}
		list, err := json.Marshal(stanzas[:n])
		if err != nil {
			return nil, err
		}
		var some []string
		if err := tab.Run(chromedp.Evaluate(fmt.Sprintf(parse, list), &some)); err != nil {
			return nil, err
		}
		all, stanzas = append(all, some...), stanzas[n:]
	}
	return all, nil
}

func tempFile(name string, content []byte) (path string, remove func(), err error) {
	dir, err := os.MkdirTemp("", "parse")
	if err != nil {
		return "", nil, err
	}
	path = filepath.Join(dir, name)
	return path, func() { _ = os.RemoveAll(dir) }, os.WriteFile(path, content, 0o600)
}

func run(in io.Reader, program string, args ...string) ([]byte, error) {
	cmd := exec.Command(program, args...)
	var out, complaints bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, &out, &complaints
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s: %w: %s", program, err, complaints.String())
	}
	return out.Bytes(), nil
}
