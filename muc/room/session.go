package room

import "vnode/internal/wire"

// Session is a local client as a room sees it. It is comparable: the same client
// is the same value as long as it is open.
type Session interface {
	// JID is the full JID. It never changes.
	JID() wire.JID
	// Admin reports whether this is the focus. It never changes.
	Admin() bool
}

// Identity is what a client's token says of its user. Strings are the token's,
// of bounded length and valid UTF-8, and empty where it says nothing.
type Identity struct {
	UserID, GroupID     string
	Name, Email, Avatar string
	// Moderator is the user's own mark in the token.
	Moderator bool
	// TenantMatches is false when the token is for another tenant than the
	// client's URL names.
	TenantMatches bool
	// Features are the names of those the token turns on.
	Features map[string]bool
}
