package raftnode

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/flip-ha/flip/fsm"
)

func TestNextMoreMovesThanOneCommandCarries(t *testing.T) {
	if testing.Short() {
		t.Skip("12,588 items")
	}
	spec := specOf("n1", "n2", "n3")
	ip := spec.Systems["ip"]
	ip.Items = nil
	for i := range 3*fsm.MaxMoves + 300 {
		ip.Items = append(ip.Items, fsm.Item{ID: fsm.ItemID(fmt.Sprintf("%06d", i))})
	}
	ip.Delay = time.Hour
	spec.Systems["ip"] = ip
	h := &quick{history{t: t, state: fsm.New()}}
	h.voters("n1", "n2", "n3")
	h.apply(fsm.SetSpec{Cluster: "c", Spec: spec})
	for _, n := range []fsm.MemberID{"n1", "n2", "n3"} {
		h.register(n, "b")
	}
	a := &Agenda{}
	for {
		cmd, _ := Next(a, Look{State: h.state, Now: time.Second})
		if cmd == nil {
			break
		}
		h.apply(cmd)
	}
	downs, later := 0, 0
	for {
		cmd, _ := Next(a, Look{State: h.state, Now: 2 * time.Second, Downs: []fsm.Down{h.down("n1")}})
		if cmd == nil {
			break
		}
		switch c := cmd.(type) {
		case fsm.Down:
			downs++
			if len(c.Moves) != fsm.MaxMoves {
				t.Errorf("Down has %d moves", len(c.Moves))
			}
		case fsm.Assign:
			later += len(c.Moves)
		}
		h.apply(cmd)
	}
	if downs != 1 || later != 100 {
		t.Errorf("%d downs, %d moves later", downs, later)
	}
	for s := range h.state.Slots() {
		if s.Owner == "n1" || s.Owner == "" {
			t.Fatalf("%v is with %q", s.Key, s.Owner)
		}
	}
}

// quick leaves the check after each step out: it takes too long on many items.
type quick struct{ history }

func (h *quick) apply(c fsm.Command) {
	h.at++
	next, res, err := h.state.Apply(h.at, fsm.Encode(c))
	if err != nil || !res.Applied {
		h.t.Fatalf("apply %T: %+v, %v", c, res, err)
	}
	h.state = next
}

// Whatever happens to the members, a leader comes to rest, and then every item
// is with a member that is up and stays if there is one, and who is to go is gone once
// it has let go and lost its vote.
func TestNextComesToRest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := working(t, func(s *fsm.Spec) {
			ip := s.Systems["ip"]
			ip.Delay = time.Duration(rapid.IntRange(0, 2).Draw(t, "delay")) * 100 * time.Millisecond
			if rapid.Bool().Draw(t, "at most one") {
				ip.Guarantee = fsm.AtMostOne
			}
			s.Systems["ip"] = ip
		})
		names := []fsm.MemberID{"n1", "n2", "n3"}
		a, now := &Agenda{}, time.Second
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			now += time.Duration(rapid.IntRange(0, 400).Draw(t, "ms")) * time.Millisecond
			name := rapid.SampledFrom(names).Draw(t, "member")
			m, _ := h.state.Member(name)
			_, listed := h.state.Spec().Servers[name]
			switch rapid.IntRange(0, 8).Draw(t, "event") {
			case 0:
				if listed {
					h.register(name, "b")
				}
			case 1:
				h.settle(a, now, name)
			case 2:
				h.apply(fsm.Leave{Member: name, Epoch: m.Epoch})
			case 3:
				a = &Agenda{} // another leader
			case 4:
				h.settle(a, now)
			case 5:
				h.maintain(a, now, rapid.Bool().Draw(t, "maintained"))
			case 6:
				spec := h.state.Spec()
				if on := !spec.Servers[name].Removing; listed && (!on || len(spec.Staying()) > 1) {
					h.apply(fsm.SetSpec{Was: spec.Version, Spec: spec.WithRemoving(name, on)})
				}
			case 7:
				h.release(name)
				h.unvote(name)
			case 8:
				if role := rapid.SampledFrom([]fsm.Role{fsm.RoleVoter, fsm.RoleAgent}).Draw(t, "role"); listed && len(h.state.Spec().Staying()) > 1 {
					before := h.owners()
					h.role(role, name)
					h.unvote(name)
					h.vote(name)
					if h.owners() != before {
						t.Fatalf("%s becomes %s: %s became %s", name, role, before, h.owners())
					}
				}
			}
		}
		h.apply(fsm.Maintain{System: "ip"})
		h.settle(a, now)
		h.settle(a, now+time.Hour) // twice: delays begin at the first look
		h.settle(a, now+2*time.Hour)
		usable := false
		for _, n := range names {
			usable = usable || inService(h.state, n) && stays(h.state, n)
		}
		for s := range h.state.Slots() {
			if usable && (!inService(h.state, s.Owner) || !stays(h.state, s.Owner)) {
				t.Fatalf("%v rests with %q, which is not in service, or is to go", s.Key, s.Owner)
			}
		}
		for _, n := range names {
			h.release(n)
			h.unvote(n)
		}
		h.settle(a, now+2*time.Hour)
		for id, server := range h.state.Spec().Servers {
			if usable && server.Removing {
				t.Fatalf("%s is there still: %v", id, h.state.Waits(id))
			}
		}
	})
}

func stays(s *fsm.State, id fsm.MemberID) bool {
	server, in := s.Spec().Servers[id]
	return in && !server.Removing
}

// unvote takes the vote of a server that is an agent, or is to go and has nothing any
// more, as takeIn does.
func (h *history) unvote(name fsm.MemberID) {
	agent := h.state.Spec().Servers[name].Role == fsm.RoleAgent
	if !agent && stays(h.state, name) || !h.state.HasVote(name) || !agent && !h.state.Drained(name) {
		return
	}
	var left []fsm.MemberID
	for _, id := range h.state.Voters().IDs {
		if id.Member() != name {
			left = append(left, id.Member())
		}
	}
	h.voters(left...)
}

// vote gives a server its vote that is to have one.
func (h *history) vote(name fsm.MemberID) {
	server := h.state.Spec().Servers[name]
	if !server.Votes() || server.Removing || h.state.HasVote(name) {
		return
	}
	names := []fsm.MemberID{name}
	for _, id := range h.state.Voters().IDs {
		names = append(names, id.Member())
	}
	h.voters(names...)
}

// maintain begins or ends the maintenance; while it lasts a leader moves nothing.
func (h *history) maintain(a *Agenda, now time.Duration, on bool) {
	h.apply(fsm.Maintain{System: "ip", On: on})
	before := h.owners()
	if h.settle(a, now); on && h.owners() != before {
		h.t.Fatalf("%s became %s under maintenance", before, h.owners())
	}
}
