package fsm

import (
	"strconv"
	"strings"
)

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

// MaxCapacity is the most that the capacity of a server can be, in weights of items.
const MaxCapacity = 1_000_000_000

// maxTagValue is how many bytes the value of a tag has at most.
const maxTagValue = 255

// InTagName reports whether a letter may stand in the name of a tag.
func InTagName(r rune) bool { return InServerName(r) || r == '/' }

// GoodTagName reports whether a tag can have the name.
func GoodTagName(name string) bool {
	return name != "" && len(name) <= MaxName && name[0] != '.' && name[0] != '-' &&
		!strings.ContainsFunc(name, func(r rune) bool { return !InTagName(r) })
}

// GoodTagValue reports whether a tag can have the value. "*" means any, where tags are
// selected by.
func GoodTagValue(value string) bool {
	return value != "" && value != "*" && len(value) <= maxTagValue && printable(value)
}

// GoodZone reports whether a zone can have the name.
func GoodZone(zone string) bool { return zone != "" && len(zone) <= MaxName && printable(zone) }

func printable(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return !strconv.IsPrint(r) })
}
