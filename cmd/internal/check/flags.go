package check

import (
	"flag"
	"fmt"
	"time"

	"vnode/cmd/internal/config"
)

// Help is printed above the flags.
const Help = `vnode check goes and looks whether everything around a node fits: main both
ways, jicofo, the public URL, certificates, clocks, TURN, the kernel's limits.
Each finding names the line to change. A running node is not disturbed. The exit
code is 0 when there is no error, 1 when there is one.

  vnode check -config /etc/vnode/v3.toml
  vnode check -config /etc/vnode/v3.toml -url wss://meet.example.com/xmpp-websocket -visitors 5000
  vnode check -config /etc/vnode/v3.toml -json | jq '.findings[] | select(.level == "error")'
  docker exec vnode0 vnode check
        in a container: its variables are the configuration

Flags:
`

// Flags are those of the command besides what makes a configuration.
type Flags struct {
	ConfigFile, URL string
	Visitors        int
	Timeout         time.Duration
	JSON            bool
}

// ParseFlags parses a command line. The error is [flag.ErrHelp] after -help, and
// otherwise says what to change.
func ParseFlags(flags *flag.FlagSet, args []string) (*Flags, error) {
	f := new(Flags)
	flags.StringVar(&f.ConfigFile, "config", "", "the node's configuration `file` (default: VNODE_CONFIG, if set; a container's variables do without)")
	flags.StringVar(&f.URL, "url", "", "the public WebSocket `URL` (default wss://MAIN-DOMAIN/xmpp-websocket)")
	flags.IntVar(&f.Visitors, "visitors", 2000, "`number` of visitors the node is to carry")
	flags.DurationVar(&f.Timeout, "timeout", 10*time.Second, "`duration` of the longest single look")
	flags.BoolVar(&f.JSON, "json", false, "write one JSON object, when all is done")
	if err := config.ParseFlags(flags, args); err != nil {
		return nil, err
	}
	if rest := flags.Args(); len(rest) > 0 {
		return nil, fmt.Errorf("unexpected argument %q: name the configuration with -config", rest[0])
	}
	if f.Visitors < 1 || f.Visitors > 1_000_000 {
		return nil, fmt.Errorf("-visitors: %d is not between 1 and 1000000", f.Visitors)
	}
	if f.Timeout < time.Second {
		return nil, fmt.Errorf("-timeout: %v is less than 1s", f.Timeout)
	}
	return f, nil
}
