package wire

// Limits bound what a peer may make us buffer or walk. A zero field means the
// default of the same name.
type Limits struct {
	MaxBytes int // of one top-level element, start tag to end tag inclusive
	MaxDepth int // of nested elements; the top-level element is at depth 1
	MaxAttrs int // of one start tag, namespace declarations included
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
	return l
}
