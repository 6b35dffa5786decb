package setup

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"vnode/cmd/internal/config"
)

// Options say what to set up. [ParseFlags] makes valid ones.
type Options struct {
	// Nodes are the numbers of the nodes to have besides those there are
	// already; Remove those to take away. RemoveAll takes all away.
	Nodes, Remove []int
	RemoveAll     bool

	// Prefix stands for /: every path written, and every path written of, is
	// below it.
	Prefix string
	// DryRun shows what would change and changes nothing. Force overwrites own
	// files that were changed by hand. Start runs the last steps too.
	DryRun, Force, Start bool

	// FocusPasswordFile holds the password to use; empty: one is made once.
	FocusPasswordFile string

	// Ask puts a question to the operator and reports whether the answer is yes;
	// nil: nobody is there to ask.
	Ask func(question string) bool

	// Version is that of the program, which its image is named after.
	Version string

	Answers
	given map[string]bool // flags that were set
}

// Answers are what setup remembers from run to run, so that a later one, to add
// or remove a node, need not be told again. The keys are those of the flags.
type Answers struct {
	// MainDomain and RoomPrefix, empty: what main's configuration says, else
	// meet.jitsi and conference. MainS2S is where main's s2s port is.
	MainDomain string `toml:"main-domain"`
	RoomPrefix string `toml:"room-prefix"`
	MainS2S    string `toml:"main-s2s"`
	// NodeAddress is where main, jicofo and nginx reach the nodes, an address
	// and not a name: main takes nothing else.
	NodeAddress string `toml:"node-address"`
	// ExtraDomains are further domains of main whose users take part,
	// separated by commas.
	ExtraDomains string `toml:"extra-domains"`
	// FirstPorts are what the number of a node is added to, as four numbers:
	// s2s, c2s, http, admin.
	FirstPorts string `toml:"first-ports"`
	// JicofoURL is jicofo's REST interface; empty: what jicofo.conf says.
	JicofoURL string `toml:"jicofo-url"`
	// CertificateFile and KeyFile for all nodes; empty: each makes its own.
	CertificateFile string `toml:"certificate"`
	KeyFile         string `toml:"key"`
	// MaxParticipants and VisitorsPerNode for jicofo; 0: as they are.
	MaxParticipants int `toml:"max-participants"`
	VisitorsPerNode int `toml:"visitors-per-node"`
	// Binary is the vnode program the unit starts.
	Binary string `toml:"binary"`
	// Pieces are the kinds of containers to make pieces for, docker and kubernetes,
	// separated by a comma.
	Pieces string `toml:"pieces"`
	// PromoteFreely lets visitors become participants without a moderator's
	// consent.
	PromoteFreely bool `toml:"promote-without-consent"`
}

// packagedBinary is where the packages have the program.
const packagedBinary = "/usr/bin/vnode"

// kindsOfPieces are the values of Pieces.
var kindsOfPieces = []string{"docker", "kubernetes"}

// Ports of a node, or what its number is added to.
type Ports struct{ S2S, C2S, HTTP, Admin int }

// maxNumber keeps the ranges of ports apart: admin of node 90 would be s2s of
// node 0.
const maxNumber = 80

// Help is printed above the flags.
const Help = `vnode setup configures visitor nodes on this machine, and main Prosody, jicofo
and nginx where they are installed on it. Own files are written whole; in files
of others only marked blocks, after a backup. Run again, it changes nothing.

  vnode setup -nodes 8 -dry-run
        show everything it would do, as a diff
  vnode setup -nodes 8
        nodes v1 to v8, as the official pre-configure.sh 8 does
  vnode setup -add 3 -main-domain meet.example.com -main-s2s 10.0.0.5:5269 -node-address 10.0.0.3
        node v3 for a main Prosody on another machine
  vnode setup -remove 3
        take node v3 away again; -remove all for all

Pieces for programs on other machines are put into /etc/vnode/pieces; with -pieces
docker,kubernetes also those for containers.

Flags:
`

// ParseFlags fills Options from a command line. The error is [flag.ErrHelp]
// after -help, and otherwise says what to change.
func ParseFlags(flags *flag.FlagSet, args []string) (*Options, error) {
	o := &Options{given: map[string]bool{}}
	nodes := flags.Int("nodes", 0, "`number` of nodes: 8 means v1 to v8")
	var add, remove string
	flags.StringVar(&add, "add", "", "`numbers` of single nodes to add, separated by commas: 3 means v3")
	flags.StringVar(&remove, "remove", "", "`numbers` of nodes to take away, or all")
	flags.BoolVar(&o.DryRun, "dry-run", false, "show what would change, as a diff, and change nothing")
	flags.BoolVar(&o.Force, "force", false, "overwrite own files that were changed by hand")
	flags.BoolVar(&o.Start, "start", false, "also run the last steps: start the nodes, restart main Prosody and jicofo, reload nginx")
	flags.StringVar(&o.Prefix, "prefix", "", "`directory` that stands for /, for a trial without root")
	flags.StringVar(&o.MainDomain, "main-domain", "", "`domain` of the main Prosody (default: what its configuration says, else meet.jitsi)")
	flags.StringVar(&o.RoomPrefix, "room-prefix", "", "first `label` of the rooms' domains (default: likewise, else conference)")
	flags.StringVar(&o.MainS2S, "main-s2s", "127.0.0.1:5269", "`host:port` of main's s2s")
	flags.StringVar(&o.NodeAddress, "node-address", "127.0.0.1", "`address` where main, jicofo and nginx reach the nodes")
	flags.StringVar(&o.ExtraDomains, "extra-domains", "", "further `domain`s of main whose users take part, separated by commas")
	flags.StringVar(&o.FirstPorts, "first-ports", "52690,52220,52800,52600", "s2s, c2s, http and admin `ports` of a node 0")
	flags.StringVar(&o.JicofoURL, "jicofo-url", "", "`URL` of jicofo's REST interface (default: what jicofo.conf says, else http://127.0.0.1:8888)")
	flags.StringVar(&o.FocusPasswordFile, "focus-password-file", "", "`file` with the password for jicofo (default: one is made)")
	flags.StringVar(&o.CertificateFile, "certificate", "", "PEM `file` with a certificate for all nodes (default: each makes its own, which main is told to accept)")
	flags.StringVar(&o.KeyFile, "key", "", "PEM `file` with its key")
	flags.IntVar(&o.MaxParticipants, "max-participants", 0, "`number` of main participants from which on jicofo makes visitors (default: as it is)")
	flags.IntVar(&o.VisitorsPerNode, "visitors-per-node", 0, "`number` of visitors of one conference that jicofo sends to a node (default: as it is)")
	flags.StringVar(&o.Binary, "binary", packagedBinary, "the vnode `program` that the unit starts")
	flags.StringVar(&o.Pieces, "pieces", "", "`kinds` of containers to make pieces for: docker, kubernetes, or both, separated by a comma")
	flags.BoolVar(&o.PromoteFreely, "promote-without-consent", false, "visitors who raise a hand become participants without a moderator's consent (default: set-up asks at a terminal, and else a moderator must agree)")
	if err := config.ParseFlags(flags, args); err != nil {
		return nil, err
	}
	if rest := flags.Args(); len(rest) > 0 {
		return nil, fmt.Errorf("unexpected argument %q: flags begin with a dash, such as -nodes 8", rest[0])
	}
	if o.Prefix != "" {
		var err error
		if o.Prefix, err = filepath.Abs(o.Prefix); err != nil {
			return nil, fmt.Errorf("-prefix: %w", err)
		}
	}
	flags.Visit(func(f *flag.Flag) { o.given[f.Name] = true })
	if *nodes < 0 || *nodes > maxNumber {
		return nil, fmt.Errorf("-nodes: %d is not between 1 and %d", *nodes, maxNumber)
	}
	for n := range *nodes {
		o.Nodes = append(o.Nodes, n+1)
	}
	var errs []error
	note := func(flag string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("-%s: %w", flag, err))
		}
	}
	added, err := numbers(add)
	note("add", err)
	o.Nodes = append(o.Nodes, added...)
	if remove == "all" {
		o.RemoveAll = true
	} else {
		o.Remove, err = numbers(remove)
		note("remove", err)
	}
	errs = append(errs, o.Validate())
	return o, errors.Join(errs...)
}

func list(s string) (all []string) {
	for part := range strings.SplitSeq(s, ",") {
		if part = strings.TrimSpace(part); part != "" {
			all = append(all, part)
		}
	}
	return all
}

func numbers(s string) (all []int, err error) {
	for _, part := range list(s) {
		n, err := strconv.Atoi(strings.TrimPrefix(part, "v"))
		if err != nil || n < 0 || n > maxNumber {
			return nil, fmt.Errorf("%q is not the number of a node, 0 to %d, such as 3 for v3", part, maxNumber)
		}
		all = append(all, n)
	}
	return all, nil
}

// ports parses FirstPorts.
func (a *Answers) ports() (Ports, error) {
	var p Ports
	parts := list(a.FirstPorts)
	fields := []*int{&p.S2S, &p.C2S, &p.HTTP, &p.Admin}
	if len(parts) != len(fields) {
		return p, fmt.Errorf("-first-ports: %q is not four ports, such as 52690,52220,52800,52600", a.FirstPorts)
	}
	for i, part := range parts {
		n, err := strconv.Atoi(part)
		if err != nil || n < 1 || n > 65535-maxNumber {
			return p, fmt.Errorf("-first-ports: %q is not a port between 1 and %d", part, 65535-maxNumber)
		}
		*fields[i] = n
	}
	return p, nil
}

// recall fills in what was not given from an earlier run's answers.
func (o *Options) recall(text []byte) error {
	old := o.Answers
	if err := toml.Unmarshal(text, &old); err != nil {
		return err
	}
	was, now := reflect.ValueOf(old), reflect.ValueOf(&o.Answers).Elem()
	for i := range now.NumField() {
		if !o.given[now.Type().Field(i).Tag.Get("toml")] {
			now.Field(i).Set(was.Field(i))
		}
	}
	return nil
}

// Validate reports everything that is wrong with o, each with what to do.
func (o *Options) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	switch {
	case len(o.Nodes) == 0 && len(o.Remove) == 0 && !o.RemoveAll:
		bad("nothing to do: say how many nodes, such as -nodes 8, or which to take away, such as -remove 3")
	case len(o.Nodes) > 0 && (o.RemoveAll || len(o.Remove) > 0):
		bad("-remove goes alone: take nodes away first, then add others")
	}
	if a, err := netip.ParseAddr(o.NodeAddress); err != nil || a.IsUnspecified() {
		bad("-node-address: %q is not an address such as 10.0.0.3; main's s2sout_override takes no names", o.NodeAddress)
	}
	if host, port, err := net.SplitHostPort(o.MainS2S); err != nil || !isHost(host) || !isPort(port) {
		bad("-main-s2s: %q is not host:port, such as 10.0.0.5:5269", o.MainS2S)
	}
	if u, err := url.Parse(o.JicofoURL); o.JicofoURL != "" && (err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || strings.ContainsAny(o.JicofoURL, "\"\\\n")) {
		bad("-jicofo-url: %q is not an address such as http://10.0.0.5:8888", o.JicofoURL)
	}
	for _, kind := range list(o.Pieces) {
		if !slices.Contains(kindsOfPieces, kind) {
			bad("-pieces: %q is none of %s", kind, strings.Join(kindsOfPieces, ", "))
		}
	}
	errs = append(errs, o.validateNames(), o.validatePaths())
	if _, err := o.ports(); err != nil {
		bad("%w", err)
	}
	if (o.CertificateFile == "") != (o.KeyFile == "") {
		bad("-certificate and -key go together: set both or neither")
	}
	if o.Start && (o.Prefix != "" || o.DryRun) {
		bad("-start is for a real set-up: leave out -prefix and -dry-run")
	}
	if o.MaxParticipants < 0 || o.VisitorsPerNode < 0 {
		bad("-max-participants and -visitors-per-node count people: 0 or more")
	}
	return errors.Join(errs...)
}

// Domains and paths end up in the configurations of five programs, each with
// signs of its own: what has none of them needs no quoting.
var (
	domainSyntax = regexp.MustCompile(`^[\p{Ll}\p{Lo}\p{M}\p{N}_-]+(\.[\p{Ll}\p{Lo}\p{M}\p{N}_-]+)*$`)
	pathSyntax   = regexp.MustCompile(`^/[^\s"'\\%$:;{}]+$`)
)

func isHost(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil || domainSyntax.MatchString(strings.ToLower(s))
}

func isPort(s string) bool {
	n, err := strconv.Atoi(s)
	return err == nil && n > 0 && n <= 65535
}

// validateNames looks at domains; those that are empty are found out later.
func (a *Answers) validateNames() error {
	var errs []error
	for flag, names := range map[string][]string{"main-domain": {a.MainDomain}, "extra-domains": list(a.ExtraDomains)} {
		for _, s := range names {
			if s != "" && !domainSyntax.MatchString(s) {
				errs = append(errs, fmt.Errorf("-%s: %q is not a domain in lower case, such as meet.jitsi", flag, s))
			}
		}
	}
	if s := a.RoomPrefix; s != "" && (!domainSyntax.MatchString(s) || strings.Contains(s, ".")) {
		errs = append(errs, fmt.Errorf("-room-prefix: %q is not one label of a domain, such as conference", s))
	}
	return errors.Join(errs...)
}

// validatePaths looks at those that the unit names.
func (a *Answers) validatePaths() error {
	var errs []error
	for flag, path := range map[string]string{"binary": a.Binary, "certificate": a.CertificateFile, "key": a.KeyFile} {
		if path != "" && !pathSyntax.MatchString(path) {
			errs = append(errs, fmt.Errorf("-%s: %q is not an absolute path without spaces and signs that mean something to systemd", flag, path))
		}
	}
	return errors.Join(errs...)
}

// path is a path of the system below the prefix.
func (o *Options) path(elem ...string) string {
	return filepath.Join(append([]string{"/", o.Prefix}, elem...)...)
}

// onLoopback reports whether all programs are on one machine.
func (o *Options) onLoopback() bool {
	a, err := netip.ParseAddr(o.NodeAddress)
	return err == nil && a.IsLoopback()
}

// id is the id of the node with number n.
func id(n int) config.ID { return config.ID("v" + strconv.Itoa(n)) }

// union returns the sorted numbers of a and b without those of less.
func union(a, b, less []int) []int {
	all := slices.Concat(a, b)
	slices.Sort(all)
	all = slices.Compact(all)
	return slices.DeleteFunc(all, func(n int) bool { return slices.Contains(less, n) })
}

// imageTag is the tag of the container image of this version.
func (o *Options) imageTag() string {
	tag, _, _ := strings.Cut(o.Version, " ")
	if tag == "" || tag == "unreleased" {
		return "VERSION"
	}
	return tag
}
