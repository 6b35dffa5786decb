package files

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// stamp puts the first line before an own file: who wrote it and a checksum of
// the rest.
func stamp(comment, text string) []byte {
	return []byte(fmt.Sprintf("%s Written by vnode setup %s. Once changed by hand, setup leaves this file alone.\n%s", comment, checksum(text), text))
}

func checksum(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:6])
}

var stampLine = regexp.MustCompile(`^\S+ Written by vnode setup ([0-9a-f]{12})\.[^\n]*\n`)

// untouched reports whether an own file is as setup wrote it.
func untouched(b []byte) bool {
	m := stampLine.FindSubmatch(b)
	return m != nil && string(m[1]) == checksum(string(b[len(m[0]):]))
}

// The marks around a block, after the comment sign.
const (
	beginMark = " >>> vnode setup: "
	endMark   = " <<< vnode setup: "
	// brokenMark is at the end of a begin mark whose line was no line's end before.
	brokenMark = " The line before goes on below."
)

// CutBlocks returns text without any block of setup's: whole lines, marks
// included. A begin without an end is an error: something was edited away, and
// nobody knows how far the block goes.
func CutBlocks(path, comment, text string) (string, error) {
	var out strings.Builder
	begin, end := comment+beginMark, comment+endMark
	began := 0 // line, 0 outside
	n := 0
	for line := range strings.Lines(text) {
		n++
		switch trimmed := strings.TrimSpace(line); {
		case began == 0 && strings.HasPrefix(trimmed, begin):
			began = n
			if strings.HasSuffix(trimmed, brokenMark) {
				joined := strings.TrimSuffix(out.String(), "\n")
				out.Reset()
				out.WriteString(joined)
			}
		case began > 0 && strings.HasPrefix(trimmed, end):
			began = 0
		case began == 0:
			out.WriteString(line)
		}
	}
	if began > 0 {
		return "", fmt.Errorf("%s: line %d begins a block of vnode setup that has no end: put back its last line, which begins with %q, or remove the block", path, began, end)
	}
	return out.String(), nil
}

// Insertion is a block to put at a place of a text.
type Insertion struct {
	After int // byte; must not be inside a line's comment
	Block string
}

// InsertAll puts blocks into text. Their places are those in text as it is.
func InsertAll(text string, all []Insertion) string {
	slices.SortFunc(all, func(a, b Insertion) int { return b.After - a.After })
	for _, i := range all {
		text = insert(text, i.After, i.Block)
	}
	return text
}

// Block is lines with the marks around them, each indented, in a language whose
// comments begin with comment. name says what it is about.
func Block(comment, name, indent string, lines []string) string {
	var b strings.Builder
	all := slices.Concat([]string{comment + beginMark + name + ". Written anew by each run."}, lines, []string{comment + endMark + name})
	for _, l := range all {
		b.WriteString(indent + l + "\n")
	}
	return b.String()
}

// insert puts a block on lines of its own at the byte after, which must not be
// inside a line's comment.
func insert(text string, after int, block string) string {
	head, tail := text[:after], text[after:]
	// What follows on the same line, a comment mostly, stays there.
	if nl := strings.IndexByte(tail, '\n'); nl >= 0 && onlyComment(tail[:nl]) {
		head, tail = head+tail[:nl+1], tail[nl+1:]
	} else {
		head, block = head+"\n", Broken(block)
	}
	return head + block + tail
}

// Broken marks a block that is put into the middle of a line, or behind a text
// without an end of line: when it is cut the end of line before it goes too.
func Broken(block string) string {
	first, rest, _ := strings.Cut(block, "\n")
	return first + brokenMark + "\n" + rest
}

// onlyComment reports whether the rest of a line says nothing, in Lua and in
// nginx's language.
func onlyComment(s string) bool {
	s = strings.TrimSpace(s)
	return s == "" || strings.HasPrefix(s, "--") || strings.HasPrefix(s, "#")
}
