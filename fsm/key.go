package fsm

import (
	"cmp"
	"encoding/binary"
	"strings"
)

// Compare orders keys by system, item and rank, as the State keeps its slots.
func (k Key) Compare(o Key) int {
	return cmp.Or(strings.Compare(string(k.System), string(o.System)),
		strings.Compare(string(k.Item), string(o.Item)), cmp.Compare(k.Rank, o.Rank))
}

// appendPart adds one name to a tree key so that keys sort as tuples of names
// do: a zero byte inside the name is escaped, and the mark of the end sorts
// below every continuation.
func appendPart(b []byte, s string) []byte {
	for {
		i := strings.IndexByte(s, 0)
		if i < 0 {
			break
		}
		b = append(append(b, s[:i]...), 0, 0xff)
		s = s[i+1:]
	}
	return append(append(b, s...), 0, 1)
}

// signBit turned over makes negative ranks sort below positive ones.
const signBit = 1 << 63

func appendKey(b []byte, k Key) []byte {
	b = appendPart(appendPart(b, string(k.System)), string(k.Item))
	return binary.BigEndian.AppendUint64(b, uint64(int64(k.Rank))^signBit)
}

// slotKey is where a slot stands in the tree of slots.
func slotKey(k Key) []byte {
	return appendKey(make([]byte, 0, len(k.System)+len(k.Item)+12), k)
}

// itemPrefix is common to all ranks of an item.
func itemPrefix(k Key) []byte { return appendPart(appendPart(nil, string(k.System)), string(k.Item)) }

// memberKey is where something of a member about a slot stands.
func memberKey(m MemberID, k Key) []byte {
	return appendKey(appendPart(make([]byte, 0, len(m)+len(k.System)+len(k.Item)+14), string(m)), k)
}
