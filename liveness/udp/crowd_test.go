package udp

import (
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/liveness"
	"github.com/flip-ha/flip/secure"
)

// sink is a Conn that swallows what is sent and never has anything.
type sink struct {
	sent int
	took func(to netip.AddrPort, sealed []byte)
}

func (s *sink) ReadFrom([]byte) (int, net.Addr, error) { return 0, nil, net.ErrClosed }
func (s *sink) WriteTo(b []byte, to net.Addr) (int, error) {
	s.sent++
	s.took(keyOf(to), b)
	return len(b), nil
}
func (s *sink) SetReadDeadline(time.Time) error { return nil }
func (s *sink) Close() error                    { return nil }
func at(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 2200)
}
func agentName(i int) fsm.MemberID          { return fsm.MemberID(fmt.Sprintf("agent-%04d", i)) }
func voterOf(name fsm.MemberID) fsm.VoterID { return fsm.NewVoterID(name, "i-"+string(name)) }
func hostOf(name fsm.MemberID) fsm.Host {
	return fsm.Host{Machine: "m-" + string(name), Boot: "b", Instance: "i-" + string(name)}
}
func nonceOf(name fsm.MemberID, of byte) (n fsm.Nonce) { copy(n[:], name); n[15] = of; return n }
func senderOf(name fsm.MemberID) secure.Sender {
	return secure.Sender{Name: name, Instance: "i-" + string(name), Process: nonceOf(name, 1)}
}

func boxOf(name fsm.MemberID) *secure.Box {
	return keys().Box(senderOf(name))
}

// crowd is a leader among three voters with many agents, all of them up.
type crowd struct {
	tb     testing.TB
	e      *Endpoint
	conn   *sink
	now    time.Duration
	epochs map[fsm.MemberID]fsm.Epoch
	names  []fsm.MemberID
	boxes  map[fsm.MemberID]*secure.Box
	state  *fsm.State
	at     fsm.Index
	acks   map[int]liveness.Ack // on their way from the other voters
}

func (c *crowd) apply(cmd fsm.Command) fsm.Result {
	c.tb.Helper()
	c.at++
	next, res, err := c.state.Apply(c.at, fsm.Encode(cmd))
	if err != nil || !res.Applied {
		c.tb.Fatalf("%T: %+v, %v", cmd, res, err)
	}
	c.state = next
	return res
}

func newCrowd(tb testing.TB, agents int) *crowd {
	c := &crowd{
		tb: tb, conn: &sink{}, now: time.Hour, epochs: map[fsm.MemberID]fsm.Epoch{}, boxes: map[fsm.MemberID]*secure.Box{},
		state: fsm.New(), acks: map[int]liveness.Ack{},
	}
	c.conn.took = c.took
	spec := fsm.Spec{Timing: fsm.Timing{Heartbeat: time.Second, Lease: 6 * time.Second}, Servers: map[fsm.MemberID]fsm.Server{}}
	addrs := map[fsm.MemberID]net.Addr{}
	var ids []fsm.VoterID
	for i := range 3 + agents {
		name, role := agentName(i), fsm.RoleAgent
		if i < 3 {
			name, role = fsm.MemberID(fmt.Sprintf("n%d", i+1)), fsm.RoleVoter
			ids = append(ids, voterOf(name))
		}
		spec.Servers[name] = fsm.Server{Name: name, Addr: at(i).String(), Role: role}
		addrs[name] = net.UDPAddrFromAddrPort(at(i))
		c.names = append(c.names, name)
	}
	c.apply(fsm.SetSpec{Cluster: "c1", Spec: spec})
	c.at++
	c.state = c.state.WithVoters(fsm.Voters{Index: c.at, IDs: ids})
	p := liveness.New(liveness.Config{
		Self: "n1", Instance: "i-n1", Host: hostOf("n1"), Process: nonceOf("n1", 1), Started: c.now, Voter: true,
		NewNonce: func() fsm.Nonce { return nonceOf("n1", 2) },
	})
	c.e = New(Config{
		Self: "n1", Clock: func() time.Duration { return c.now }, Log: zerolog.Nop(),
		Resolve: func(m fsm.MemberID) (net.Addr, bool) { a, ok := addrs[m]; return a, ok },
		Cluster: func() string { return "c1" },
	}, c.conn, boxOf("n1"), p)
	c.e.Read(c.state, c.at, true, voterOf("n1"))
	for _, name := range c.names {
		reg := fsm.Register{Member: name, Nonce: nonceOf(name, 2), Process: nonceOf(name, 1), Host: hostOf(name)}
		if mine, due := c.e.Register(); due && name == "n1" {
			reg = mine
		}
		c.epochs[name] = c.apply(reg).Epoch
		c.boxes[name] = boxOf(name)
	}
	c.e.Read(c.state, c.at, true, voterOf("n1"))
	// Its pause at start passes; all are heard meanwhile, each second once.
	for range 10 {
		for i := 1; i < len(c.names); i++ {
			c.beat(i)
		}
		c.now += time.Second
	}
	return c
}

// took has the other voters acknowledge the leader's heartbeats.
func (c *crowd) took(to netip.AddrPort, sealed []byte) {
	for i := 1; i < 3; i++ {
		if to != at(i) || c.boxes[c.names[i]] == nil {
			continue
		}
		_, body, err := c.boxes[c.names[i]].Open(append([]byte(nil), sealed...))
		if err != nil {
			c.tb.Fatal(err)
		}
		p, err := decode(body)
		if err != nil {
			c.tb.Fatal(err)
		}
		if hb, ok := p.msg.(liveness.Heartbeat); ok {
			c.acks[i] = liveness.Ack{Epoch: hb.Epoch, Sent: hb.Sent, TTL: 6 * time.Second, Voters: fsm.Voters{Index: 2}, Applied: c.at}
		}
	}
}

// hand takes in what another has to say.
func (c *crowd) hand(i int, msg liveness.Message) {
	raw, err := encode(packet{cluster: "c1", to: "n1", kind: kindOf(msg), msg: msg})
	if err != nil {
		c.tb.Fatal(err)
	}
	c.e.receive(c.boxes[c.names[i]].Seal(raw), at(i))
}

// beat takes in a heartbeat of one of the others, and ticks, as Run does.
func (c *crowd) beat(i int) {
	for of, ack := range c.acks {
		delete(c.acks, of)
		c.hand(of, ack)
	}
	c.hand(i, liveness.Heartbeat{Epoch: c.epochs[c.names[i]], Sent: c.now, Voters: 2, Applied: c.at, Leased: true})
	c.e.tick()
}

// Each heartbeat of a crowd is acknowledged, nobody is asked about, and who falls
// silent is.
func TestCrowd(t *testing.T) {
	c := newCrowd(t, 50)
	before := c.conn.sent
	for i := 1; i < len(c.names); i++ {
		c.beat(i)
	}
	if got := c.conn.sent - before; got < len(c.names)-1 || got > len(c.names)+10 {
		t.Fatalf("%d datagrams went out for %d heartbeats", got, len(c.names)-1)
	}
	if _, ok := c.e.Lease(); !ok {
		t.Fatal("the leader has no lease")
	}
}

// round lets a second pass in which each of the others says once that it is there.
func (c *crowd) round() {
	for i := 1; i < len(c.names); i++ {
		c.now += time.Second / time.Duration(len(c.names))
		c.beat(i)
	}
}

func BenchmarkHeartbeat(b *testing.B) {
	for _, agents := range []int{10, 100, 1000} {
		b.Run(fmt.Sprintf("%d agents", agents), func(b *testing.B) {
			c := newCrowd(b, agents)
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				i = i%(len(c.names)-1) + 1
				c.now += time.Second / time.Duration(len(c.names))
				c.beat(i)
			}
		})
	}
}

// worked is how long this thread has had a processor.
func worked(t *testing.T) time.Duration {
	t.Helper()
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &now); err != nil {
		t.Fatal(err)
	}
	return time.Duration(now.Nano())
}

// What a voter does for one datagram does not grow with the number of members: with a
// hundred times as many it may take somewhat longer, since all of it is spread over
// more memory. The best of many rounds counts, by the processor's time: the machine has
// other things to do.
func TestWorkPerDatagramStaysFlat(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	few, many := newCrowd(t, 10), newCrowd(t, 1000)
	best := map[*crowd]float64{}
	for range 12 {
		for c, times := range map[*crowd]int{few: 20, many: 1} {
			began := worked(t)
			for range times {
				c.round()
			}
			ns := float64(worked(t)-began) / float64(times*(len(c.names)-1))
			if best[c] == 0 || ns < best[c] {
				best[c] = ns
			}
		}
	}
	t.Logf("a heartbeat: %.0f ns with 10 agents, %.0f ns with 1,000", best[few], best[many])
	if best[many] > 3*best[few] {
		t.Errorf("a heartbeat takes %.0f ns with 1,000 agents and %.0f ns with 10", best[many], best[few])
	}
}
