package udp

import (
	"bytes"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/liveness"
	"github.com/flip-ha/flip/secure"
)

// Only what is of this cluster, and for this server, is taken in.
func TestRefuse(t *testing.T) {
	for _, c := range []struct {
		mine, theirs string
		kind         kind
		why          Drop
		refused      bool
	}{
		{"c1", "c1", kindHeartbeat, 0, false},
		{"c1", "c2", kindHeartbeat, DropCluster, true},
		{"c1", "c2", kindHail, DropCluster, true},
		{"c1", "", kindHeartbeat, DropUnfounded, true},
		{"", "c1", kindAck, DropUnfounded, true},
		{"c1", "", kindHail, 0, false},
		{"", "c1", kindHail, 0, false},
		{"", "", kindHail, 0, false},
	} {
		e := New(Config{Self: "n1", Cluster: func() string { return c.mine }}, nil, nil, nil)
		p := packet{cluster: c.theirs, to: "n1", kind: c.kind}
		if why, refused := e.refuse(p); why != c.why || refused != c.refused {
			t.Errorf("%+v: %v, %v", c, why, refused)
		}
		p.to = "n2"
		if why, refused := e.refuse(p); why != DropMisdirected || !refused {
			t.Errorf("%+v, for another: %v, %v", c, why, refused)
		}
	}
}

func TestSendErrorsAreShown(t *testing.T) {
	var out strings.Builder
	s := newStatistics(zerolog.New(&out))
	s.know(three, "n1", func(fsm.MemberID) (net.Addr, bool) { return nil, false })
	for range 100 {
		s.sent("n2", errors.New("network is unreachable"))
		s.sent("n3", nil)
	}
	if got := strings.Count(out.String(), "\n"); got != 1 {
		t.Errorf("%d lines", got)
	}
	list := s.list(0, []liveness.Peer{{Member: "n3", Epoch: 7}})
	if len(list) != 2 || list[0].SendError != "network is unreachable" || list[0].Sent != 0 {
		t.Errorf("%+v", list)
	}
	if list[1].SendError != "" || list[1].Sent != 100 || list[1].Lease.Epoch != 7 {
		t.Errorf("%+v", list[1])
	}
	s.sent("n2", nil)
	if got := s.list(0, nil)[0].SendError; got != "" {
		t.Errorf("still %q", got)
	}
}

// What strangers send is counted and changes nothing.
func TestStrangersDatagrams(t *testing.T) {
	inBubble(t, three, func(t *testing.T, c *cluster) {
		c.pass(3 * time.Second)
		stranger := &net.UDPAddr{IP: net.IPv4(192, 0, 2, 66), Port: 666}
		n1, n2 := c.addrs["n1"], c.addrs["n2"]
		body := func(p packet) []byte { return mustEncode(t, p) }
		hail := body(packet{cluster: c.id, to: "n1", kind: kindHail})
		ghost := secure.Sender{Name: "n2", Instance: "i-n2", Process: fsm.Nonce{77}}
		member := keys().Box(ghost)
		otherVersion := member.Seal(hail)
		otherVersion[3]++
		again := member.Seal(hail)
		beatOf := func(cluster string) []byte {
			return body(packet{cluster: cluster, to: "n1", kind: kindHeartbeat, msg: liveness.Heartbeat{Epoch: 1}})
		}
		c.wire.carry(n2, n1, again)
		for range 100 {
			c.wire.carry(stranger, n1, bytes.Repeat([]byte("flp\x01"), 300))
			c.wire.carry(stranger, n1, nil)
			c.wire.carry(n2, n1, otherKeys().Box(ghost).Seal(hail))
			c.wire.carry(n2, n1, otherVersion)
			c.wire.carry(n2, n1, again)
			c.wire.carry(n2, n1, member.Seal(beatOf("c2")))
			c.wire.carry(n2, n1, member.Seal(beatOf("")))
			c.wire.carry(n2, n1, member.Seal(body(packet{cluster: c.id, to: "n3", kind: kindHail})))
			c.wire.carry(n2, n1, member.Seal([]byte("\x02c1\x02n1\x7f")))
			c.wire.carry(n2, n1, member.Seal([]byte("\x02c1\x02n1\x01junk")))
			c.pass(10 * time.Millisecond)
			c.leased("n1", "n2", "n3")
		}
		from := c.peer("n1", "n2")
		want := Drops{100, 100, 100, 100, 100, 100, 100, 100}
		if from.Drops != want {
			t.Errorf("from n2's address: %v", from.Drops)
		}
		if from.OtherCluster != "c2" {
			t.Errorf("other cluster %q", from.OtherCluster)
		}
		if from.Refused < 0 || from.Refused > 20*time.Millisecond || from.Why == DropUnfounded {
			t.Errorf("refused %v ago: %v", from.Refused, from.Why)
		}
		if none := c.peer("n1", "n3"); none.Refused >= 0 || none.Drops != (Drops{}) {
			t.Errorf("n3 is blamed: %+v", none)
		}
		want[DropForeign] += 200
		if got := c.nodes["n1"].Drops(); got != want {
			t.Errorf("in all: %v", got)
		}
		if got := c.wire.letters(stranger); len(got) > 0 {
			t.Errorf("the stranger got %d answers", len(got))
		}
		if downs := c.nodes["n1"].Downs(); len(downs) > 0 {
			t.Errorf("%+v", downs)
		}
	})
}

// Answers go where the configuration says, never where a datagram came from.
func TestAnswersGoToTheConfiguredAddress(t *testing.T) {
	inBubble(t, three, func(t *testing.T, c *cluster) {
		c.pass(3 * time.Second)
		elsewhere := &net.UDPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 2200}
		c.change(func() { c.nodes["n2"].conn.addr = elsewhere })
		c.pass(time.Second)
		c.leased("n1", "n2", "n3")
		if got := c.wire.letters(elsewhere); len(got) > 0 {
			t.Errorf("%d datagrams went to the source address", len(got))
		}
	})
}

// A member that moved is answered at its new address once that is known.
func TestAddressChanges(t *testing.T) {
	inBubble(t, three, func(t *testing.T, c *cluster) {
		c.pass(3 * time.Second)
		moved := &net.UDPAddr{IP: net.IPv4(10, 9, 9, 9), Port: 2200}
		conn := c.nodes["n3"].conn
		c.change(func() {
			delete(c.wire.conns, keyOf(conn.addr))
			conn.addr = moved
			c.wire.conns[keyOf(moved)] = conn
		})
		c.pass(time.Second)
		c.leased("n1", "n2")
		c.change(func() { c.addrs["n3"] = moved })
		c.pass(3 * time.Second)
		c.leased("n1", "n2", "n3")
	})
}

// Before anybody is registered, or even founded, servers hear each other's hails.
func TestHails(t *testing.T) {
	inBubble(t, three, func(t *testing.T, c *cluster) {
		c.change(func() { c.id = "" })
		time.Sleep(2*hailEvery + 10*time.Millisecond)
		for _, from := range three {
			for _, p := range c.nodes[from].Peers() {
				if p.Name == from || p.Heard < 0 || p.Heard > hailEvery {
					t.Errorf("%s heard %s %v ago", from, p.Name, p.Heard)
				}
			}
		}
		if got := len(c.nodes["n1"].Peers()); got != 2 {
			t.Errorf("%d peers", got)
		}
	})
}
