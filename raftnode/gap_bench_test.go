package raftnode

import (
	"fmt"
	"net"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/liveness/wake"
	"github.com/flip-ha/flip/placement"
)

// beats sends itself a datagram each 10 ms and knows the longest time between two that
// came, as another member would see it.
type beats struct {
	came  chan struct{} // one has; capacity 1
	worst atomic.Int64  // nanoseconds
}

func newBeats(b *testing.B) *beats {
	b.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	ticks := time.NewTicker(10 * time.Millisecond)
	out, done := &beats{came: make(chan struct{}, 1)}, make(chan struct{})
	go func() {
		for {
			select {
			case <-done:
				return
			case <-ticks.C:
				_, _ = conn.WriteTo([]byte("beat"), conn.LocalAddr())
			}
		}
	}()
	go func() {
		var buf [16]byte
		last := time.Time{}
		for {
			if _, _, err := conn.ReadFrom(buf[:]); err != nil {
				return
			}
			if now := time.Now(); !last.IsZero() {
				out.worst.Store(max(out.worst.Load(), int64(now.Sub(last))))
			}
			last = time.Now()
			wake.Signal(out.came)
		}
	}()
	b.Cleanup(func() {
		close(done)
		ticks.Stop()
		_ = conn.Close()
	})
	return out
}

// take is the longest gap since it was asked last, in milliseconds.
func (b *beats) take() float64 { return float64(b.worst.Swap(0)) / 1e6 }

// aside makes plans as a Node does.
func aside(woken chan struct{}) drafts {
	return drafts{
		begin: func(p *placement.Planner, d *draft) <-chan struct{} {
			ready := make(chan struct{})
			go func() {
				d.result = p.Plan(d.view)
				close(ready)
				wake.Signal(woken)
			}()
			return ready
		},
		after: time.After,
	}
}

// large is a cluster of three voters and a thousand agents with so many items, and
// nothing assigned.
func large(b *testing.B, items int) *quick {
	spec := specOf("n1", "n2", "n3")
	ip := spec.Systems["ip"]
	ip.Items = make([]fsm.Item, items)
	for i := range ip.Items {
		ip.Items[i] = fsm.Item{ID: fsm.ItemID(fmt.Sprintf("%07d", i))}
	}
	spec.Systems["ip"] = ip
	for i := range 1000 {
		n := fsm.MemberID(fmt.Sprintf("a%d", i))
		spec.Servers[n] = fsm.Server{Name: n, Addr: string(n) + ":1", Role: fsm.RoleAgent, Systems: []fsm.SystemID{"ip"}}
	}
	h := &quick{history{t: b, state: fsm.New()}}
	h.voters("n1", "n2", "n3")
	h.apply(fsm.SetSpec{Cluster: "c", Spec: spec})
	for n := range spec.Servers {
		nonce := fsm.Nonce{byte(h.at), byte(h.at >> 8), 7}
		h.apply(fsm.Register{Member: n, Nonce: nonce, Process: nonce, Host: fsm.Host{Machine: "m-" + string(n), Boot: "b", Instance: "i"}, Wire: [2]uint16{1, 1}})
	}
	return h
}

// BenchmarkHeartbeatGap prints the longest gap between two heartbeats that a leader sends
// while it plans: at rest, from scratch, while what was planned is applied, and for the
// loss of a member; how long the loop is kept from looking at Downs, and how many moves
// the Down takes along. Heartbeats are due each 10 ms, on as many threads as the daemon has.
func BenchmarkHeartbeatGap(b *testing.B) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(4 * runtime.NumCPU()))
	for _, items := range []int{10_000, 1_000_000} {
		b.Run(fmt.Sprint(items), func(b *testing.B) {
			if testing.Short() && items > 10_000 {
				b.Skip("a million items")
			}
			h := large(b, items)
			beats := newBeats(b)
			for b.Loop() {
				heartbeatGap(b, &quick{h.history}, beats)
			}
		})
	}
}

func heartbeatGap(b *testing.B, h *quick, beats *beats) {
	woken := make(chan struct{}, 1)
	a := &Agenda{drafts: aside(woken)}
	var held time.Duration // by one look
	next := func(downs ...fsm.MemberID) fsm.Command {
		began := time.Now()
		cmd, _ := Next(a, h.look(time.Hour, downs...))
		held = max(held, time.Since(began))
		return cmd
	}
	report := func(what string, d time.Duration) {
		b.ReportMetric(beats.take(), what+"-gap-ms")
		b.ReportMetric(float64(d.Microseconds())/1e3, what+"-ms")
	}
	beats.take()
	for range 100 {
		<-beats.came
	}
	report("rest", 0)

	began := time.Now()
	cmd := next()
	for ; cmd == nil; cmd = next() {
		<-woken
	}
	report("plan", time.Since(began))
	began = time.Now()
	for commands := 0; ; commands++ {
		h.apply(cmd)
		if cmd = next(); cmd == nil && a.drafts.next != nil {
			<-woken
			cmd = next()
		}
		if cmd == nil {
			b.ReportMetric(float64(commands), "commands")
			break
		}
	}
	report("apply", time.Since(began))
	b.ReportMetric(float64(held.Microseconds())/1e3, "held-ms")
	began = time.Now()
	down := next("a7").(fsm.Down)
	report("down", time.Since(began))
	b.ReportMetric(float64(len(down.Moves)), "moves")
}
