package wire

// Limits bound what a peer may make us buffer or walk. A zero field means the
// default of the same name.
type Limits struct {
	MaxBytes int // of one top-level element, start tag to end tag inclusive
	MaxDepth int // of nested elements; the top-level element is at depth 1
	// MaxAttrs is of one start tag, namespace declarations included. [Check]
	// counts them as Prosody would write them, with room for the addresses that
	// every stanza gets; it is also its limit of prefixes declared at a time.
	MaxAttrs int
	// MaxRewritten is of one stanza in bytes once Prosody has written it again,
	// which makes an apostrophe six bytes. The default is what servers take,
	// less 8 KiB for addresses, or MaxBytes if that is more.
	MaxRewritten int
}

// Defaults of [Limits]. 256 KiB is what Prosody announces to clients, 512 KiB
// to servers; Jitsi's deepest stanza (a Jingle offer) nests 8 levels.
const (
	DefaultMaxBytes       = 256 << 10
	DefaultMaxServerBytes = 512 << 10
	DefaultMaxDepth       = 64
	DefaultMaxAttrs       = 64
)

func (l Limits) withDefaults() Limits {
	if l.MaxBytes <= 0 {
		l.MaxBytes = DefaultMaxBytes
	}
	if l.MaxDepth <= 0 {
		l.MaxDepth = DefaultMaxDepth
	}
	if l.MaxAttrs <= 0 {
		l.MaxAttrs = DefaultMaxAttrs
	}
	if l.MaxRewritten <= 0 {
		l.MaxRewritten = max(l.MaxBytes, DefaultMaxServerBytes-rewriteSpace)
	}
	return l
}
