package token

// Identity is what a token says of its user. Strings are the token's, of bounded
// length and valid UTF-8, and empty where it says nothing. It is not to be
// changed.
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

// sameUser reports whether both tokens name a user, and the same.
func (i *Identity) sameUser(as *Identity) bool {
	return i.UserID != "" && i.UserID == as.UserID && i.GroupID == as.GroupID
}
