package placement

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/flip-ha/flip/fsm"
)

// lab is a State that benchmarks drive: no check runs after its commands.
type lab struct {
	b     testing.TB
	state *fsm.State
	at    fsm.Index
}

func (l *lab) apply(cmd fsm.Command) {
	l.b.Helper()
	l.at++
	next, res, err := l.state.Apply(l.at, fsm.Encode(cmd))
	if err != nil || !res.Applied || len(res.Dropped) > 0 {
		l.b.Fatalf("%T: %v %s, %d dropped", cmd, err, res.Why, len(res.Dropped))
	}
	l.state = next
}

// newLab has members that are up, in so many zones, and items of one system.
func newLab(b testing.TB, members, items, replicas, zones int) *lab {
	l := &lab{b: b, state: fsm.New()}
	spec := fsm.Spec{
		Timing:  fsm.Timing{Heartbeat: 50 * time.Millisecond, Lease: 300 * time.Millisecond},
		Servers: map[fsm.MemberID]fsm.Server{}, Systems: map[fsm.SystemID]fsm.System{},
	}
	sys := fsm.System{
		Name: "s", Split: fsm.Shard, Guarantee: fsm.AtLeastOne, Action: fsm.ActionHooks, Alive: "up", Down: "down",
		Config: []byte("{}"), Replicas: replicas,
	}
	for i := range items {
		sys.Items = append(sys.Items, fsm.Item{ID: fsm.ItemID(fmt.Sprintf("item%07d", i))})
	}
	spec.Systems[sys.Name] = sys
	for i := range members {
		role := fsm.RoleAgent
		if i < 5 {
			role = fsm.RoleVoter
		}
		s := fsm.Server{
			Name: member(i), Addr: string(member(i)) + ":1", Role: role,
			Zone: fmt.Sprint("zone", i%zones), Systems: []fsm.SystemID{"s"},
		}
		spec.Servers[s.Name] = s
	}
	l.apply(fsm.SetSpec{Cluster: "lab", Spec: spec})
	for i := range members {
		var nonce fsm.Nonce
		copy(nonce[:], fmt.Sprintf("%016d", i+1))
		l.apply(fsm.Register{
			Member: member(i), Nonce: nonce, Process: nonce,
			Host: fsm.Host{Machine: string(member(i)), Boot: "b", Instance: "i"},
		})
	}
	return l
}

func member(i int) fsm.MemberID { return fsm.MemberID(fmt.Sprintf("n%04d", i)) }

func (l *lab) lost(members ...int) View {
	v := View{State: l.state, Unusable: map[fsm.MemberID]string{}}
	for _, m := range members {
		v.Unusable[member(m)] = "is down"
	}
	return v
}

// settle makes the Planner's moves until there are none, and returns how many commands
// that took and how long each plan did.
func (l *lab) settle(p *Planner, lost ...int) (commands int, each time.Duration) {
	for {
		view := l.lost(lost...)
		began := time.Now() //nolint:forbidigo // this is what is measured
		moves := p.Plan(view).Moves
		each += time.Since(began) //nolint:forbidigo // this is what is measured
		if commands++; len(moves) == 0 {
			return commands, each / time.Duration(commands)
		}
		l.apply(fsm.Assign{Moves: moves})
	}
}

// BenchmarkMillion is the size that is aimed at: from scratch, from one command of the
// Planner's own moves to the next, and after a loss.
func BenchmarkMillion(b *testing.B) {
	const items, members = 1_000_000, 1_000
	b.Run("scratch", func(b *testing.B) {
		view := newLab(b, members, items, 1, 1).lost()
		b.ReportAllocs()
		for b.Loop() {
			if n := len(Plan(view).Moves); n != fsm.MaxMoves {
				b.Fatalf("%d moves", n)
			}
		}
	})
	b.Run("settled", func(b *testing.B) { benchmarkSettled(b, newLab(b, members, items, 1, 1), items/members) })
}

// BenchmarkReplicas is ten thousand items with three replicas on a hundred members in
// three zones.
func BenchmarkReplicas(b *testing.B) {
	b.Run("scratch", func(b *testing.B) {
		view := newLab(b, 100, 10_000, 3, 3).lost()
		b.ReportAllocs()
		for b.Loop() {
			if len(Plan(view).Moves) == 0 {
				b.Fatal("no moves")
			}
		}
	})
	b.Run("settled", func(b *testing.B) { benchmarkSettled(b, newLab(b, 100, 10_000, 3, 3), 300) })
}

// benchmarkSettled deals everything, then loses a member again and again.
func benchmarkSettled(b *testing.B, l *lab, least int) {
	var p Planner
	commands, each := l.settle(&p)
	b.Run("loss", func(b *testing.B) {
		lost, whole := l.lost(7), l.lost()
		b.ReportAllocs()
		for b.Loop() {
			if n := len(p.Plan(lost).Moves); n < least {
				b.Fatalf("%d moves", n)
			}
		}
		b.ReportMetric(float64(commands), "commands")
		b.ReportMetric(float64(each.Microseconds())/1000, "ms/replan")
		if n := len(p.Plan(whole).Moves); n > 0 {
			b.Fatalf("%d moves without a cause", n)
		}
	})
	b.Run("nothing", func(b *testing.B) {
		view := l.lost()
		for b.Loop() {
			p.Plan(view)
		}
	})
	b.Run("memory", func(b *testing.B) {
		var before, after runtime.MemStats
		view := l.lost()
		for b.Loop() {
			var fresh Planner
			runtime.GC()
			runtime.ReadMemStats(&before)
			fresh.Plan(view)
			runtime.GC()
			runtime.ReadMemStats(&after)
			runtime.KeepAlive(&fresh)
		}
		b.ReportMetric(float64(after.HeapAlloc-min(before.HeapAlloc, after.HeapAlloc))/(1<<20), "MB/planner")
	})
}
