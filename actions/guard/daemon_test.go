package guard_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"github.com/flip-ha/flip/actions"
	"github.com/flip-ha/flip/actions/gate"
	"github.com/flip-ha/flip/actions/guard"
	"github.com/flip-ha/flip/actions/ledger"
	"github.com/flip-ha/flip/actions/netif"
	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/liveness/udp"
	"github.com/flip-ha/flip/secure"
)

const gateTable = "flip-guard"

// orders is what a test's daemon is told by its environment.
type orders struct {
	Dir     string // lock, list
	Addrs   []string
	Hooks   []string // items of hooks, with Down as their `down`
	Down    string
	Alive   string // runs for ever, under the list's run
	Lease   time.Duration
	NoGuard bool
	Epoch   fsm.Epoch
	Voters  map[fsm.MemberID]string
	Key     []byte
	Next    []byte // the key, once told
	Process fsm.Nonce
	Stop    time.Duration // stop_timeout
}

const beat = 20 * time.Millisecond

// labDaemon holds addresses behind a gate, with a guard, until it is killed.
func labDaemon() error {
	var o orders
	if err := json.Unmarshal([]byte(os.Getenv(rolesOrders)), &o); err != nil {
		return err
	}
	log := zerolog.New(os.Stderr)
	lock, err := os.OpenFile(filepath.Join(o.Dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return err
	}
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	listPath := filepath.Join(o.Dir, "list")
	list, _, err := ledger.Open(listPath, ledger.Identity{Boot: "b", Member: "n1", Instance: "i"}, log)
	if err != nil {
		return err
	}
	gated, err := gate.Open(gate.Config{Name: gateTable, Log: log}, nil)
	if err != nil {
		return err
	}
	links, err := netif.Open(log)
	if err != nil {
		return err
	}
	var g *guard.Guard
	if !o.NoGuard {
		socket, err := conn.(*net.UDPConn).File()
		if err != nil {
			return err
		}
		own, err := gated.File()
		if err != nil {
			return err
		}
		g = guard.New(guard.Config{
			Command: []string{"/proc/self/exe"}, Lock: lock, Gate: own, Socket: socket,
			Hello: guard.Hello{
				Member: "n1", Host: fsm.Host{Machine: "m", Boot: "b", Instance: "i"}, Process: o.Process, Key: o.Key,
				Heartbeat: beat, Gate: gateTable, List: listPath,
			},
			Lease: func() time.Duration { return o.Lease }, Log: log,
		})
		if err := os.Setenv(rolesRole, "guard"); err != nil {
			return err
		}
		g.Seed(list.Attach(g))
		g.Lease(o.Epoch, udp.Boottime()+o.Lease) // nothing is held before there is one
		go func() { _ = g.Run(context.Background()) }()
		g.Peers(guard.Peers{Cluster: "c", Heartbeat: beat, Addrs: o.Voters})
	}
	d := &lab{orders: o, list: list, gate: gated, links: links, guard: g}
	if err := d.hold(); err != nil {
		return err
	}
	go d.lead()
	for look := time.NewTicker(time.Millisecond); g != nil && !g.Status().Up; {
		<-look.C
	}
	fmt.Println("ready", d.guardPID())
	return d.obey()
}

type lab struct {
	orders
	list  *ledger.List
	gate  *gate.Gate
	links *netif.Net
	guard *guard.Guard
	quiet bool
}

func (d *lab) guardPID() int {
	if d.guard == nil {
		return 0
	}
	return d.guard.Status().PID
}

// effects are all that the daemon does, as the executor would.
func (d *lab) effects() []actions.Effect {
	var all []actions.Effect
	for _, a := range d.Addrs {
		all = append(all, actions.Effect{Kind: actions.Acquire, Job: fsm.Job{
			Key: fsm.Key{System: "ips", Item: fsm.ItemID(a)}, Token: 3, AtMostOne: true, Gated: true, Action: fsm.ActionIP, Addrs: []string{a + "/32"},
		}})
	}
	for _, h := range d.Hooks {
		all = append(all, actions.Effect{Kind: actions.Acquire, Job: fsm.Job{
			Key: fsm.Key{System: "hooks", Item: fsm.ItemID(h)}, Token: 3, AtMostOne: true, Action: fsm.ActionHooks,
			Alive: d.Alive, Down: d.Down, StopTimeout: d.Stop,
		}})
	}
	// What is held at least once is nobody's business here.
	return append(all, actions.Effect{Kind: actions.Acquire, Job: fsm.Job{
		Key: fsm.Key{System: "many", Item: "m"}, Action: fsm.ActionIP, Addrs: []string{stays + "/32"},
	}})
}

func (d *lab) hold() error {
	lo, _ := d.links.Link("lo")
	hooks := actions.NewHooks(actions.HooksConfig{Self: "n1", Log: zerolog.Nop()})
	var addrs []netip.Addr
	var plumb []netif.Address
	var ends []actions.Effect
	for _, e := range d.effects() {
		run, err := d.list.Begin(e)
		if err != nil {
			return err
		}
		if e.Job.Action == fsm.ActionHooks {
			if d.Alive != "" { // never ends
				go func() { _ = hooks.Acquire(actions.WithRun(context.Background(), run), e.Job) }()
			} else {
				d.list.End(e, nil)
			}
			continue
		}
		ends = append(ends, e)
		p := netip.MustParsePrefix(e.Job.Addrs[0])
		mark := netif.AtLeastOne
		if e.Job.AtMostOne {
			addrs, mark = append(addrs, p.Addr()), netif.AtMostOne
		}
		plumb = append(plumb, netif.Address{Link: lo.Index, Prefix: p, Mark: mark, Valid: time.Minute})
	}
	if err := d.gate.Add(addrs); err != nil {
		return err
	}
	for _, err := range d.links.Add(plumb) {
		if err != nil {
			return err
		}
	}
	for _, e := range ends {
		d.list.End(e, nil)
	}
	return nil
}

// lead renews lease and gate.
func (d *lab) lead() {
	tick := time.NewTicker(beat)
	for range tick.C {
		if d.quiet {
			continue
		}
		_ = d.gate.Renew(func() (time.Duration, bool) { return d.Lease, true })
		if d.guard != nil {
			d.guard.Lease(d.Epoch, udp.Boottime()+d.Lease)
		}
	}
}

// obey does what the test says.
func (d *lab) obey() error {
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		switch in.Text() {
		case "close":
			d.guard.Close()
		case "leave":
			if err := d.guard.Leave(); err != nil {
				fmt.Println("leave:", err)
				continue
			}
		case "lapse": // a healthy daemon that has lost its lease
			d.quiet = true
			d.guard.Releasing(udp.Boottime() + time.Hour)
		case "released":
			d.guard.Released()
		case "key":
			d.guard.Key(d.Next)
		case "kill guard":
			if err := d.replaceGuard(); err != nil {
				fmt.Println("kill guard:", err)
				continue
			}
		case "guard":
			fmt.Println("guard", d.guardPID())
			continue
		case "put":
			_, err := d.list.Begin(actions.Effect{Kind: actions.Acquire, Job: fsm.Job{
				Key: fsm.Key{System: "late", Item: "x"}, AtMostOne: true, Action: fsm.ActionIP, Addrs: []string{"10.66.0.66/32"},
			}})
			fmt.Println("put", err)
			continue
		}
		fmt.Println("done", in.Text())
	}
	select {} // only killed
}

// replaceGuard kills the guard and waits for the next one.
func (d *lab) replaceGuard() error {
	was := d.guardPID()
	if err := syscall.Kill(was, syscall.SIGKILL); err != nil {
		return err
	}
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	for st := d.guard.Status(); st.PID == was || !st.Up; st = d.guard.Status() {
		<-look.C
	}
	return nil
}

// keysOf is what both ends of a test's goodbyes have.
func keysOf(key string) *secure.Keys {
	k, err := secure.Derive([]byte(key))
	if err != nil {
		panic(err)
	}
	return k
}
