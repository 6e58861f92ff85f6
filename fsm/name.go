package fsm

import "strings"

// MaxName is how many bytes the name of a server or a system has at most: the longest
// label of a host name.
const MaxName = 63

// InServerName reports whether a letter may stand in a server's name, which becomes
// part of file names, of Raft's ids and of certificates.
func InServerName(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-", r)
}

// GoodServerName reports whether a server can have the name.
func GoodServerName(name string) bool {
	return name != "" && len(name) <= MaxName && name[0] != '.' && name[0] != '-' &&
		!strings.ContainsFunc(name, func(r rune) bool { return !InServerName(r) })
}
