package fsm

import (
	"bytes"
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

// world draws commands that are nearly right: most name what is there, some do
// not.
type world struct {
	*rapid.T
	d         *driver
	processes map[MemberID][]Goodbye // each process that ever registered, as a goodbye
	count     int
	clock     int64
}

// roll is a number below n, all equally likely: rapid's own ranges prefer their
// ends.
func (w *world) roll(n int) int {
	x := uint64(rapid.Uint32().Draw(w.T, "roll"))
	return int((x * 0x9e3779b97f4a7c15 >> 33) % uint64(n))
}

func (w *world) chance(percent int) bool { return w.roll(100) < percent }

func draw[T any](w *world, from []T) T { return from[w.roll(len(from))] }

func (w *world) anyMember() MemberID { return draw(w, []MemberID{"a", "b", "c"}) }

func (w *world) anyKey() Key {
	return Key{
		System: draw(w, []SystemID{"one", "least", "ip", "all"}), Item: draw(w, []ItemID{"x", "y"}),
		Rank: draw(w, []int{0, 0, 0, 0, 0, 1, 1, 1, 2, -1}),
	}
}

// near is an epoch, token or index: mostly the one given.
func near[T ~uint64](w *world, n T) T {
	switch {
	case w.chance(90):
		return n
	case n > 0 && w.chance(50):
		return n - 1
	default:
		return n + 1
	}
}

func (w *world) epochOf(m MemberID) Epoch {
	known, _ := w.d.s.Member(m)
	return near(w, known.Epoch)
}

func (w *world) register() Command {
	m := w.anyMember()
	r := w.d.registration(m)
	w.count++
	r.Nonce = nonce("nonce %d", w.count)
	r.Replaces = near(w, r.Replaces)
	switch {
	case w.chance(50):
	case w.chance(40):
		r.Process = nonce("process %d", w.count)
	default:
		r.Process = nonce("process %d", w.count)
		r.Host = Host{
			Machine: draw(w, []string{"machine-" + string(m), "spare"}), Boot: draw(w, []string{"boot-1", "boot-2"}),
			Instance: draw(w, []string{"instance-" + string(m), "wiped"}),
		}
	}
	if w.chance(20) {
		r.Gate = !r.Gate
	}
	return r
}

func (w *world) someMoves() []Move {
	var out []Move
	for range w.roll(5) {
		k := w.anyKey()
		m := Move{Key: k, Was: near(w, w.d.slot(k).Token), To: draw(w, []MemberID{"a", "b", "c", "a", "b", "c", ""}), Reason: "drawn"}
		if w.chance(30) {
			m.Home = w.anyMember()
		}
		if m.Cause = CauseFailed; w.chance(60) {
			m.Cause = Cause(w.roll(9))
		}
		out = append(out, m)
	}
	return out
}

// claims names entries that are there, nearly.
func (w *world) claims(of MemberID) []Claim {
	var all []Claim
	for slot := range w.d.s.Slots() {
		for _, e := range slot.Outstanding {
			if of == "" || e.Member == of {
				all = append(all, Claim{Key: slot.Key, Member: e.Member, Epoch: e.Epoch, Token: e.Token})
			}
		}
	}
	var out []Claim
	for range w.roll(min(4, len(all)+1)) {
		c := draw(w, all)
		c.Epoch, c.Token = near(w, c.Epoch), near(w, c.Token)
		out = append(out, c)
	}
	return out
}

func (w *world) report() Command {
	m := w.anyMember()
	r := Report{Member: m, Epoch: w.epochOf(m), Released: w.claims(m), Swept: w.claims(""), Programs: w.programs(), At: w.time()}
	if w.chance(15) && r.Epoch > 1 {
		r.Epoch = Epoch(1 + w.roll(int(r.Epoch)))
	}
	for slot := range w.d.s.Slots() {
		switch {
		case slot.Owner == m && w.chance(50):
			r.Acquired = append(r.Acquired, Claim{Key: slot.Key, Member: m, Token: near(w, slot.Token)})
		case w.chance(15):
			r.Failed = append(r.Failed, Failure{Key: slot.Key, Token: near(w, slot.Token), Err: "exit status 1"})
		}
		if w.chance(15) {
			r.Mended = append(r.Mended, slot.Key)
		}
		if w.chance(25) {
			seen := Sighting{Key: slot.Key, Token: near(w, slot.Token), OK: w.chance(50)}
			seen.Answer = draw(w, []string{"", "another"})
			r.Seen = append(r.Seen, seen)
		}
	}
	return r
}

func (w *world) goodbye() Goodbye {
	m := w.anyMember()
	if len(w.processes[m]) == 0 {
		return Goodbye{Member: m}
	}
	g := draw(w, w.processes[m])
	if newest := w.processes[m][len(w.processes[m])-1]; w.chance(70) {
		g = newest
	}
	for slot := range w.d.s.Slots() {
		if w.chance(30) {
			g.Kept = append(g.Kept, slot.Key)
		}
	}
	return g
}

func (w *world) downOf() Command {
	m := w.anyMember()
	x := Down{Member: m, Voters: near(w, w.d.s.Voters().Index), Moves: w.someMoves(), At: w.time()}
	if w.chance(40) {
		g := w.goodbye()
		x.Goodbye = &g
		if w.chance(90) {
			x.Member = g.Member
		}
	}
	x.Epoch = w.epochOf(x.Member)
	return x
}

func (w *world) command() Command {
	m := w.anyMember()
	switch w.roll(20) {
	case 0, 1, 2:
		return w.register()
	case 3, 4, 5:
		return Assign{Moves: w.someMoves(), At: w.time()}
	case 6, 7, 8:
		return w.report()
	case 9, 16:
		return w.downOf()
	case 10:
		return w.goodbye()
	case 11:
		return w.spec()
	case 12:
		return Settle{Member: m, Epoch: w.epochOf(m)}
	case 13:
		return Leave{Member: m, Epoch: w.epochOf(m)}
	case 14:
		if w.chance(50) {
			return Force{Claims: w.claims("")}
		}
		host := hostOf(m)
		if w.chance(20) {
			host.Machine = "spare"
		}
		return Fence{Member: m, Host: host, UpTo: w.epochOf(m)}
	case 15:
		id := draw(w, []SystemID{"one", "least", "ip", "all", "", "none"})
		if w.chance(30) {
			return Cleanup{System: id, Item: draw(w, []ItemID{"x", "y", ""}), At: w.time()}
		}
		return Maintain{System: id, On: w.chance(50)}
	case 17, 18, 19:
		return w.keyCommand()
	default:
		return RemoveMember{Member: m}
	}
}

// step applies one command, or a batch, to the State and to the oracle.
func (w *world) step(o *oracle) Command {
	cmds := []Command{w.command()}
	if w.chance(15) {
		cmds = append(cmds, w.command(), w.command())
	}
	w.d.at++
	raw := Encode(cmds[0])
	if len(cmds) > 1 {
		var b Batch
		for _, c := range cmds {
			b.Commands = append(b.Commands, Encode(c))
		}
		raw = Encode(b)
	}
	next, res, err := w.d.s.Apply(w.d.at, raw)
	if err != nil {
		w.Fatalf("apply %+v: %v", cmds, err)
	}
	each := res.Each
	if len(cmds) == 1 {
		each = []Result{res}
	}
	for i, c := range cmds {
		applied, dropped := o.apply(w.d.at, c)
		if each[i].Applied != applied || len(each[i].Dropped) != dropped {
			w.Fatalf("%T: %+v\nthe oracle says applied %v, dropped %d\nto\n%s\ncommand %+v", c, each[i], applied, dropped, textOf(w.d.s), c)
		}
		if r, ok := c.(Register); ok && applied {
			g := Goodbye{Member: r.Member, Host: r.Host, Process: r.Process, Epoch: Epoch(w.d.at)}
			w.processes[r.Member] = append(w.processes[r.Member], g)
		}
	}
	if got, want := textOf(next), o.text(); got != want {
		w.Fatalf("after %T %+v\nto\n%s\n\n got\n%s\n\nwant\n%s", cmds[0], cmds, textOf(w.d.s), got, want)
	}
	if err := Check(next); err != nil {
		w.Fatalf("after %T %+v\nto\n%s\n\nis\n%s\n\n%v", cmds[0], cmds, textOf(w.d.s), textOf(next), err)
	}
	w.slices(o, next)
	w.d.s = next
	return Batch{Commands: [][]byte{raw}}
}

// Random commands against the oracle. After each: the invariants hold, and a
// snapshot gives the same State. At the end: no earlier State has changed, and
// the same log gives the same bytes.
func TestAgainstOracle(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := &world{T: rt, processes: map[MemberID][]Goodbye{}, clock: 1_700_000_000_000}
		replicas := w.roll(4)
		w.d = founded(t, func(s *Spec) {
			for _, id := range []SystemID{"one", "least"} {
				on(id, func(s *System) { s.Replicas = replicas })(s)
			}
		})
		o := newOracle()
		o.apply(1, SetSpec{Cluster: "c1", Spec: w.d.s.spec.clone()})
		for i, m := range []MemberID{"a", "b", "c"} {
			me, _ := w.d.s.Member(m)
			o.apply(Index(i+2), Register{Member: m, Nonce: me.Nonce, Process: me.Process, Host: me.Host, Gate: me.Gate})
			w.processes[m] = []Goodbye{w.d.bye(m)}
		}
		first := w.d.s
		var log []Command
		var states []*State
		var images [][]byte
		for range rapid.IntRange(1, 60).Draw(rt, "steps") {
			if w.chance(5) {
				o.voters++
				o.voterIDs = nil
				for _, m := range []MemberID{"a", "b", "c"} {
					if w.chance(30) {
						o.voterIDs = append(o.voterIDs, NewVoterID(m, "1"))
					}
				}
				w.d.s = w.d.s.WithVoters(Voters{Index: o.voters, IDs: o.voterIDs})
			}
			log = append(log, w.step(o))
			image := snapshot(t, w.d.s)
			back := read(t, image)
			if !bytes.Equal(snapshot(t, back), image) {
				rt.Fatal("the snapshot gives another State")
			}
			if err := Check(back); err != nil {
				rt.Fatalf("what was read: %v", err)
			}
			states, images = append(states, w.d.s), append(images, image)
			if w.chance(20) {
				w.d.s = back
			}
		}
		for i, s := range states {
			if !bytes.Equal(snapshot(t, s), images[i]) {
				rt.Fatalf("State %d changed after it was there", i)
			}
		}
		if o.voters > 0 {
			return // voters do not come from the log's commands
		}
		at := Index(4)
		for _, c := range log {
			at++
			next, _, err := first.Apply(at, c.(Batch).Commands[0])
			if err != nil {
				rt.Fatal(err)
			}
			first = next
		}
		if !bytes.Equal(snapshot(t, first), images[len(images)-1]) {
			rt.Fatal("the same log gives another State")
		}
	})
}

// clone copies a Spec wholly, for who wants another one.
func (s *Spec) clone() Spec {
	c, err := Decode(Encode(SetSpec{Spec: *s}))
	if err != nil {
		panic(fmt.Sprint(err))
	}
	return c.(SetSpec).Spec
}
