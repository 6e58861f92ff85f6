package client

import (
	"testing"

	"github.com/flip-ha/flip/fsm"
)

// Ring is a daemon on a socket that knows of three members and a system "ring" of so
// many partitions. give has one of them held by a member.
func Ring(t *testing.T, partitions int) (socket string, give func(item fsm.ItemID, to fsm.MemberID)) {
	t.Helper()
	n := settle(t, townSpec(3, 0, partitions))
	n.open()
	return n.socket, func(item fsm.ItemID, to fsm.MemberID) {
		t.Helper()
		k := fsm.Key{System: "ring", Item: item}
		if !n.move(k, to) || !n.acquired(k) {
			t.Fatalf("%s cannot be given to %s", item, to)
		}
	}
}
