package raftnode

import (
	"fmt"
	"slices"
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

// reign is one leader: its plans are ready at once, or late.
type reign struct {
	Agenda
	late *slow
}

func newReign(late bool) *reign {
	r := &reign{}
	if late {
		r.late, r.drafts = slowDrafts()
	}
	return r
}

// work lets a leader go on. One whose plans are late may not see the end of the last one.
func (h *history) work(t *rapid.T, r *reign, now time.Duration, downs ...fsm.MemberID) {
	if r.late == nil {
		h.settle(&r.Agenda, now, downs...)
		return
	}
	for range rapid.IntRange(1, 4).Draw(t, "looks") {
		if r.late.finish != nil && rapid.Bool().Draw(t, "ready") {
			r.late.finish()
		}
		if cmd, _ := Next(&r.Agenda, h.look(now, downs...)); cmd != nil {
			h.carryOut(cmd)
		}
	}
}

// rest lets a leader go on until there is nothing left to do.
func (h *history) rest(r *reign, now time.Duration) {
	for range 1000 {
		if r.late != nil && r.late.finish != nil {
			r.late.finish()
		}
		switch cmd, _ := Next(&r.Agenda, h.look(now)); {
		case cmd != nil:
			h.carryOut(cmd)
		case r.late == nil || r.late.finish == nil:
			return
		}
	}
	h.t.Fatalf("no end of commands")
}

// drawnSystem is ip with whatever a leader has to keep the pace of.
func drawnSystem(t *rapid.T) func(*fsm.Spec) {
	ms := func(name string, values ...int) time.Duration {
		return time.Duration(rapid.SampledFrom(values).Draw(t, name)) * time.Millisecond
	}
	return func(s *fsm.Spec) {
		ip := s.Systems["ip"]
		ip.Delay = ms("delay", 0, 100, 200)
		ip.RoundMoves, ip.RoundEvery = rapid.IntRange(0, 2).Draw(t, "round"), ms("every", 0, 300, 5000)
		ip.NoBrake = !rapid.Bool().Draw(t, "brake")
		ip.Replicas = rapid.IntRange(0, 3).Draw(t, "replicas")
		ip.Failback, ip.Mature = ms("failback", 0, 0, 700), ms("mature", 0, 0, 500)
		if rapid.IntRange(0, 3).Draw(t, "never") == 0 {
			ip.Failback = fsm.NeverFailback
		}
		ip.Items = slices.Clone(ip.Items)
		for i := range ip.Items {
			ip.Items[i].Weight = rapid.SampledFrom([]int{0, 0, 3}).Draw(t, "weight")
			if rapid.Bool().Draw(t, "prefers") {
				ip.Items[i].Prefer = []fsm.MemberID{rapid.SampledFrom([]fsm.MemberID{"n1", "n2", "n3"}).Draw(t, "prefer")}
			}
		}
		if rapid.Bool().Draw(t, "at most one") {
			ip.Guarantee = fsm.AtMostOne
		}
		s.Systems["ip"] = ip
		if rapid.Bool().Draw(t, "tied") {
			tieWeb(t, s)
		}
	}
}

// tieWeb adds a system that goes where ip is, or where it is not.
func tieWeb(t *rapid.T, s *fsm.Spec) {
	web := s.Systems["ip"]
	web.Name, web.Replicas, web.Items = "web", 0, []fsm.Item{{ID: "a"}, {ID: "w"}}
	if rapid.Bool().Draw(t, "apart") {
		web.Apart = []fsm.SystemID{"ip"}
	} else {
		web.With = []fsm.SystemID{"ip"}
	}
	if rapid.Bool().Draw(t, "together") {
		web.Split = fsm.ChooseOne
	}
	s.Systems["web"] = web
	for id, server := range s.Servers {
		server.Systems = []fsm.SystemID{"ip", "web"}
		s.Servers[id] = server
	}
}

// Whatever happens to the members, and however late plans are, a leader comes to rest,
// and then every item is with a member that is up and stays if there is one, and who is
// to go is gone once it has let go and lost its vote.
func TestNextComesToRest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := assigned(t, drawnSystem(t))
		h.wall = true
		names := []fsm.MemberID{"n1", "n2", "n3"}
		late := rapid.Bool().Draw(t, "late")
		r, now := newReign(late), time.Second
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			now += time.Duration(rapid.IntRange(0, 400).Draw(t, "ms")) * time.Millisecond
			name := rapid.SampledFrom(names).Draw(t, "member")
			if rapid.IntRange(0, 9).Draw(t, "leader") == 0 {
				r = newReign(late)
			}
			h.happens(t, r, now, name)
		}
		h.apply(fsm.Maintain{System: "ip"})
		h.apply(fsm.Cleanup{})
		for range 12 { // rounds and delays begin at the first look
			h.rest(r, now)
			now += time.Hour
		}
		usable := 0
		for _, n := range names {
			if inService(h.state, n) && stays(h.state, n) {
				usable++
			}
		}
		for s := range h.state.Slots() {
			if s.System == "ip" && s.Rank < usable && (!inService(h.state, s.Owner) || !stays(h.state, s.Owner)) {
				t.Fatalf("%v rests with %q, which is not in service, or is to go", s.Key, s.Owner)
			}
		}
		for _, n := range names {
			h.release(n)
			h.unvote(n)
		}
		h.rest(r, now)
		for id, server := range h.state.Spec().Servers {
			// Who has what nobody else can have keeps it: a copy, or what may not be there.
			ip, web := h.state.Spec().Systems["ip"], h.state.Spec().Systems["web"]
			if usable >= ip.Ranks() && web.Apart == nil && server.Removing {
				t.Fatalf("%s is there still: %v", id, h.state.Waits(id))
			}
		}
	})
}

// happens is one thing that happens to a member, or that a leader does meanwhile.
func (h *history) happens(t *rapid.T, r *reign, now time.Duration, name fsm.MemberID) {
	m, _ := h.state.Member(name)
	_, listed := h.state.Spec().Servers[name]
	switch rapid.IntRange(0, 8).Draw(t, "event") {
	case 0:
		if listed {
			h.register(name, "b")
		}
	case 1:
		h.work(t, r, now, name)
	case 2:
		h.apply(fsm.Leave{Member: name, Epoch: m.Epoch})
	case 3, 4:
		h.work(t, r, now)
	case 5:
		h.maintain(t, r, now, rapid.Bool().Draw(t, "maintained"))
	case 6:
		spec := h.state.Spec()
		if on := !spec.Servers[name].Removing; listed && (!on || len(spec.Staying()) > 1) {
			h.apply(fsm.SetSpec{Was: spec.Version, Spec: spec.WithRemoving(name, on)})
		}
	case 7:
		h.release(name)
		h.unvote(name)
	case 8:
		role := rapid.SampledFrom([]fsm.Role{fsm.RoleVoter, fsm.RoleAgent}).Draw(t, "role")
		if !listed || len(h.state.Spec().Staying()) < 2 {
			return
		}
		before := h.owners()
		h.role(role, name)
		h.unvote(name)
		h.vote(name)
		if h.owners() != before {
			t.Fatalf("%s becomes %s: %s became %s", name, role, before, h.owners())
		}
	}
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
func (h *history) maintain(t *rapid.T, r *reign, now time.Duration, on bool) {
	h.apply(fsm.Maintain{System: "ip", On: on})
	owners := func() (out []fsm.MemberID) {
		for slot := range h.state.SlotsOf("ip") {
			out = append(out, slot.Owner)
		}
		return out
	}
	before := owners()
	if h.work(t, r, now); on && !slices.Equal(owners(), before) {
		h.t.Fatalf("%s became %s under maintenance", before, owners())
	}
}
