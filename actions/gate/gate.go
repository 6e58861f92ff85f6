package gate

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"
)

// DefaultFuse is how late after its clock was read a renewal may still be done.
const DefaultFuse = 15 * time.Millisecond

// nameLimit is NFT_TABLE_MAXNAMELEN of the oldest kernels that have the rest,
// less the end.
const nameLimit = 31

// Config is what a Gate is made from.
type Config struct {
	Name string        // of both tables; hosts that run several nodes need one each
	Fuse time.Duration // 0: DefaultFuse; less than 2 ticks of the kernel's clock is raised to that
	Log  zerolog.Logger
}

// Stats is what a Gate tells of itself.
type Stats struct {
	Owned    bool // strangers get EPERM; else their changes are repaired
	Open     bool // as believed: the kernel may have shut it up to a tick ago
	Addrs    int
	Renewals uint64
	Refused  uint64 // renewals that opened nothing, ErrLapsed …
	Late     uint64 // … of these: their call came after the fuse had ended
	Repairs  uint64 // tables built anew after somebody touched them
	Last     time.Duration
	Worst    time.Duration // latency of a renewal, of those that were done
}

// Gate is the two tables of one node.
type Gate struct {
	name       string
	tick, fuse time.Duration
	log        zerolog.Logger
	watch      *watch        // nil while the tables are owned: there is nothing to hear
	unowned    chan struct{} // closed once there is
	changed    chan struct{}
	until      atomic.Pointer[time.Time] // when what is open ends, at the latest; read without the lock, which a slow kernel may hold up

	mu      sync.Mutex
	sock    *socket
	out     message
	addrs   map[netip.Addr]struct{} // what the sets hold
	live    bool                    // the lease sets hold elements, expired or not
	fuseNo  uint32
	owned   bool
	picture []byte // the tables as built, see intact
	closed  bool
	stats   Stats
}

// options are what tests may choose.
type options struct {
	unowned bool // as on a kernel that knows no owner and persist
}

// Open builds both tables, shut, with plumbed and no other address inside, in
// one transaction; it takes the place of those that a dead daemon of this name
// left, with whatever they let pass. It works on the network namespace of the
// calling thread.
func Open(cfg Config, plumbed []netip.Addr) (*Gate, error) {
	return open(cfg, plumbed, options{})
}

func open(cfg Config, plumbed []netip.Addr, o options) (*Gate, error) {
	if cfg.Name == "" || len(cfg.Name) > nameLimit {
		return nil, fmt.Errorf("gate name %q: want 1 to %d characters", cfg.Name, nameLimit)
	}
	addrs, err := normal(plumbed)
	if err != nil {
		return nil, err
	}
	tick, err := Tick()
	if err != nil {
		return nil, err
	}
	if cfg.Fuse == 0 {
		cfg.Fuse = DefaultFuse
	}
	g := &Gate{
		name: cfg.Name, tick: tick, fuse: max(cfg.Fuse, 2*tick), log: cfg.Log,
		changed: make(chan struct{}, 1), unowned: make(chan struct{}), addrs: make(map[netip.Addr]struct{}, len(addrs)),
		fuseNo: rand.Uint32(), owned: true,
	}
	for _, a := range addrs {
		g.addrs[a] = struct{}{}
	}
	if g.sock, err = dial(); err != nil {
		return nil, fmt.Errorf("open gate %s: %w", g.name, explain(err))
	}
	if o.unowned {
		err = g.disown()
	}
	if err == nil {
		err = g.build()
	}
	if err != nil {
		return nil, fmt.Errorf("open gate %s: %w", g.name, errors.Join(explain(err), g.Close()))
	}
	g.log.Info().Str("gate", g.name).Bool("owned", g.owned).Int("addrs", len(g.addrs)).
		Dur("tick", tick).Dur("fuse", g.fuse).Msg("gate built, shut")
	return g, nil
}

// disown goes on without owner and persist: others' changes must be heard of,
// from before the tables are built. Where there is nothing to hear there is no
// such socket: when one of netfilter's is closed, as at this process's death,
// the kernel waits for all that it still has to free, and an heir's Shut with it.
func (g *Gate) disown() error {
	g.owned = false
	if g.watch != nil {
		return nil
	}
	w, err := newWatch(g.name, g.sock.port)
	if err != nil {
		return err
	}
	if err := w.listen(); err != nil {
		return errors.Join(err, w.close())
	}
	g.watch = w
	close(g.unowned)
	return nil
}

// Tick is the kernel's timer tick: timeouts are cut to whole ones.
func Tick() (time.Duration, error) {
	var ts unix.Timespec
	if err := unix.ClockGetres(unix.CLOCK_MONOTONIC_COARSE, &ts); err != nil {
		return 0, fmt.Errorf("read the length of a kernel tick: %w", err)
	}
	return time.Duration(ts.Nano()), nil
}

// Stats says how the gate does.
func (g *Gate) Stats() Stats {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.stats
	s.Owned, s.Addrs, s.Open = g.owned, len(g.addrs), g.Left() > 0
	return s
}

// Left says for how long the gate is believed to stay open; 0: it is shut. It
// never waits.
func (g *Gate) Left() time.Duration {
	if until := g.until.Load(); until != nil {
		return max(0, time.Until(*until))
	}
	return 0
}

// lapse notes that the lease sets are empty, or that nobody knows.
func (g *Gate) lapse() {
	g.live = false
	g.until.Store(nil)
}

// Changed receives when the tables had to be built anew, which shuts the gate.
func (g *Gate) Changed() <-chan struct{} { return g.changed }

// Dismantle deletes both tables: for a stop in order that has left nothing
// behind which they would have to hold back. The gate cannot be used after it.
func (g *Gate) Dismantle() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return ErrClosed
	}
	found, err := g.look()
	if err != nil {
		return fmt.Errorf("dismantle gate %s: %w", g.name, explain(err))
	}
	g.out.reset()
	g.out.batchBegin()
	for i, t := range tables {
		if found[i].there {
			g.out.deleteTable(t.family, found[i].handle)
		}
	}
	g.lapse()
	g.closed = true
	if g.out.count == 1 {
		return nil
	}
	g.out.batchEnd()
	if err := g.sock.transact(&g.out); err != nil {
		g.closed = false
		return fmt.Errorf("dismantle gate %s: %w", g.name, explain(err))
	}
	g.log.Info().Str("gate", g.name).Msg("gate dismantled")
	return nil
}

// Close gives up the sockets. The tables stay and go on holding back; what is
// open shuts when its time is over.
func (g *Gate) Close() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.sock == nil {
		return nil
	}
	err := g.sock.close()
	if g.watch != nil {
		err = errors.Join(g.watch.close(), err)
	}
	g.sock, g.closed = nil, true
	g.lapse()
	return err
}

// normal gives the addresses in the form that the sets have, each once.
func normal(addrs []netip.Addr) ([]netip.Addr, error) {
	seen := make(map[netip.Addr]struct{}, len(addrs))
	list := make([]netip.Addr, 0, len(addrs))
	for _, a := range addrs {
		if !a.IsValid() {
			return nil, errors.New("the gate was given an address that is none")
		}
		a = a.Unmap().WithZone("")
		if _, ok := seen[a]; !ok {
			seen[a] = struct{}{}
			list = append(list, a)
		}
	}
	return list, nil
}
