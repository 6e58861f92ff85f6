package udp

import (
	"slices"
	"testing"
	"time"

	"github.com/flip-ha/flip/fsm"
)

// roleOf changes what a server is in the Spec.
func (c *cluster) roleOf(name fsm.MemberID, role fsm.Role) {
	c.t.Helper()
	spec := fsm.Spec{Timing: c.state.Spec().Timing, Servers: map[fsm.MemberID]fsm.Server{}}
	for id, server := range c.state.Spec().Servers {
		if id == name {
			server.Role = role
		}
		spec.Servers[id] = server
	}
	c.commit(fsm.SetSpec{Was: c.state.Spec().Version, Spec: spec})
}

// vote gives the votes to exactly these.
func (c *cluster) vote(names ...fsm.MemberID) {
	var ids []fsm.VoterID
	for _, name := range names {
		ids = append(ids, fsm.NewVoterID(name, "i-"+string(name)))
	}
	c.at++
	c.state = c.state.WithVoters(fsm.Voters{Index: c.at, IDs: ids})
	c.show()
}

// A server becomes an agent and a voter again. Its lease runs on, and it tells when
// what it reads stands still; whoever votes is hailed, and nobody else.
func TestRolesChange(t *testing.T) {
	four := []fsm.MemberID{"n1", "n2", "n3", "n4"}
	inBubble(t, four, func(t *testing.T, c *cluster) {
		c.pass(3 * time.Second)
		c.leased(four...)
		epoch := c.nodes["n4"].Epoch()

		c.vote("n1", "n2", "n3")
		c.roleOf("n4", fsm.RoleAgent)
		c.nodes["n4"].SetVoter(false)
		c.pass(2 * time.Second)
		c.leased(four...)
		c.hailed(map[fsm.MemberID]bool{"n1": true, "n2": true, "n3": true})

		// The log goes on, and n4 does not read it.
		c.at++
		for _, name := range []fsm.MemberID{"n1", "n2", "n3"} {
			c.nodes[name].Read(c.state, c.at, name == "n1", "n1/i-n1")
		}
		for len(c.nodes["n4"].Changed()) > 0 {
			<-c.nodes["n4"].Changed()
		}
		began := time.Now()
		for !c.nodes["n4"].Behind() {
			<-c.nodes["n4"].Changed() // it is told when to look
		}
		if took := time.Since(began); took < ttl || took > ttl+2*beat {
			t.Errorf("behind after %v", took)
		}
		c.leased(four...)
		c.show()
		if c.nodes["n4"].Behind() || c.nodes["n1"].Behind() {
			t.Error("behind, and has read all that there is")
		}

		c.roleOf("n4", fsm.RoleVoter)
		c.nodes["n4"].SetVoter(true)
		if c.nodes["n4"].Ready() {
			t.Error("it votes at once")
		}
		c.pass(2 * time.Second)
		c.vote(four...)
		c.pass(2 * time.Second)
		c.leased(four...)
		if !c.nodes["n4"].Ready() || c.nodes["n4"].Epoch() != epoch {
			t.Errorf("ready %v, in epoch %d and not %d", c.nodes["n4"].Ready(), c.nodes["n4"].Epoch(), epoch)
		}
		c.hailed(map[fsm.MemberID]bool{"n1": true, "n2": true, "n3": true, "n4": true})
	})
}

// hailed looks to whom the last hails went.
func (c *cluster) hailed(want map[fsm.MemberID]bool) {
	c.t.Helper()
	time.Sleep(hailEvery)
	since := time.Now()
	time.Sleep(2 * hailEvery)
	for name := range c.nodes {
		var other fsm.MemberID = "n1"
		if name == other {
			other = "n2"
		}
		box := keys().Box(senderOf(name))
		got := slices.ContainsFunc(c.wire.letters(c.addrs[name]), func(l letter) bool {
			if l.at.Before(since) || l.from != keyOf(c.addrs[other]) {
				return false
			}
			_, body, err := box.Open(slices.Clone(l.data))
			if err != nil {
				c.t.Fatal(err)
			}
			p, err := decode(body)
			return err == nil && p.kind == kindHail
		})
		if got != want[name] {
			c.t.Errorf("%s is hailed by %s: %v", name, other, got)
		}
	}
}
