package client

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/secure"
)

// weighed counts what is read from a connection, TLS included.
type weighed struct {
	net.Conn
	bytes *atomic.Int64
}

func (w weighed) Read(b []byte) (int, error) {
	n, err := w.Conn.Read(b)
	w.bytes.Add(int64(n))
	return n, err
}

// cpuTime is what this process has used of the processors.
func cpuTime(b *testing.B) time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// What 1,000 streams over TLS cost, both ends in this process: from a command that
// concerns one, or all, until the last that it concerns has read it, and what marks
// weigh.
func BenchmarkPartStreams(b *testing.B) {
	const agents = 1000
	v, _, to, keys := serving(b)
	state, _ := v.View()
	spec := *state.Spec()
	spec.Servers = map[fsm.MemberID]fsm.Server{"n2": spec.Servers["n2"]}
	for i := range agents {
		name := fsm.MemberID(fmt.Sprintf("n1-%04d", i))
		spec.Servers[name] = fsm.Server{Name: name, Addr: fmt.Sprintf("10.0.%d.%d:1", i/250, i%250), Role: fsm.RoleAgent, Systems: []fsm.SystemID{"ip"}}
	}
	spec.Servers["n1"] = state.Spec().Servers["n1"]
	v.do(fsm.SetSpec{Was: spec.Version, Spec: spec})
	var bytes, frames atomic.Int64
	var mu sync.Mutex
	seen := map[int]fsm.Index{}
	news := make(chan struct{}, 1)
	ctx, cancel := context.WithCancel(b.Context())
	var reading sync.WaitGroup
	for i := range agents {
		name := fsm.MemberID(fmt.Sprintf("n1-%04d", i))
		v.do(fsm.Register{Member: name, Nonce: fsm.Nonce{1, byte(i), byte(i >> 8)}, Process: fsm.Nonce{1, byte(i), byte(i >> 8)}, Host: fsm.Host{Machine: string(name)}, Wire: [2]uint16{1, 1}})
		p := NewPeersOver(func(ctx context.Context, to Target) (net.Conn, error) {
			raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", to.Addr)
			if err != nil {
				return nil, err
			}
			conn := tls.Client(weighed{raw, &bytes}, keys.Client(secure.Identity{Name: name, Instance: "i"}, secure.Identity{Name: to.Name}, secure.ProtoHTTP))
			return conn, conn.HandshakeContext(ctx)
		})
		defer p.Close()
		stream, err := p.Part(ctx, to, api.PartRequest{Member: name, Instance: "i"})
		if err != nil {
			b.Fatal(err)
		}
		reading.Go(func() {
			for {
				f, err := stream.Next()
				if err != nil {
					return
				}
				frames.Add(1)
				mu.Lock()
				seen[i] = f.Index
				mu.Unlock()
				select {
				case news <- struct{}{}:
				default:
				}
			}
		})
	}
	defer reading.Wait()
	defer cancel()
	last := func(of []int, at fsm.Index) {
		for {
			mu.Lock()
			done := !slices.ContainsFunc(of, func(i int) bool { return seen[i] < at })
			mu.Unlock()
			if done {
				return
			}
			<-news
		}
	}
	all := make([]int, agents)
	for i := range all {
		all[i] = i
	}
	on := false
	b.Run("one of them", func(b *testing.B) {
		turn := 0
		for b.Loop() {
			turn++
			last([]int{turn % agents}, v.move("a", fsm.MemberID(fmt.Sprintf("n1-%04d", turn%agents))))
		}
	})
	b.Run("all", func(b *testing.B) {
		for b.Loop() {
			on = !on
			last(all, v.do(fsm.Maintain{System: "ip", On: on}))
		}
	})
	b.Run("marks", func(b *testing.B) {
		for b.Loop() {
			bytes.Store(0)
			frames.Store(0)
			began, cpu := time.Now(), cpuTime(b)
			for frames.Load() < agents {
				<-news
			}
			b.ReportMetric(float64(cpuTime(b)-cpu)/float64(frames.Load()), "cpu-ns/mark")
			b.ReportMetric(float64(bytes.Load())/float64(frames.Load()), "bytes/mark")
			b.ReportMetric(float64(bytes.Load())/time.Since(began).Seconds(), "bytes/s")
		}
	})
}
