package watch

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/flip-ha/flip/e2e/mono"
)

// Main is the watcher's process: it watches until stop is closed by the other
// side and writes its Report as JSON. It says on out, with a line, that it has
// begun.
func Main(cfg Config, stop io.Reader, out io.Writer) error {
	w, err := newWatcher(cfg)
	if err != nil {
		return err
	}
	for _, p := range w.ports {
		go w.listen(p)
	}
	ended := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, stop)
		close(ended)
	}()
	if _, err := fmt.Fprintln(out, "watching"); err != nil {
		return fmt.Errorf("say that the watcher runs: %w", err)
	}
	asked, pauses := w.askAll(ended)
	mono.SleepUntil(mono.Now().Add(InFlight))
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := json.NewEncoder(out).Encode(Report{Runs: w.runs.All(), Asked: asked, Pauses: pauses}); err != nil {
		return fmt.Errorf("write what was watched: %w", err)
	}
	return nil
}

type watcher struct {
	cfg   Config
	src   source
	ports []*port

	mu    sync.Mutex
	addrs map[netip.Addr]bool
	runs  Runs
	seen  map[holding]bool // with Once: needs no more asking
}

// port is the wire of one host, with the questions that go to it.
type port struct {
	fd     int
	mac    net.HardwareAddr
	frames [][]byte
	// With Once: announced and not yet answered for, and the frame to ask by.
	pending map[netip.Addr][]byte
}

func newWatcher(cfg Config) (*watcher, error) {
	mac, err := net.ParseMAC(cfg.MAC)
	if err != nil {
		return nil, fmt.Errorf("the watcher's hardware address: %w", err)
	}
	w := &watcher{cfg: cfg, addrs: map[netip.Addr]bool{}, seen: map[holding]bool{}}
	w.src = source{mac: mac, ip4: cfg.Source4, ip6: cfg.Source6, port: cfg.EchoPort}
	for _, a := range cfg.Addrs {
		w.addrs[a] = true
	}
	for _, c := range cfg.Ports {
		p, err := w.open(c)
		if err != nil {
			return nil, err
		}
		w.ports = append(w.ports, p)
	}
	return w, nil
}

func (w *watcher) open(c Port) (*port, error) {
	mac, err := net.ParseMAC(c.MAC)
	if err != nil {
		return nil, fmt.Errorf("hardware address of %s: %w", c.Name, err)
	}
	link, err := net.InterfaceByName(c.Name)
	if err != nil {
		return nil, fmt.Errorf("port %s: %w", c.Name, err)
	}
	p := &port{mac: mac, pending: map[netip.Addr][]byte{}}
	const every = unix.ETH_P_ALL // a narrower one comes after the bridge, which keeps the frame
	if p.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
		return nil, fmt.Errorf("packet socket on %s: %w", c.Name, err)
	}
	if err := unix.SetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20); err != nil {
		return nil, fmt.Errorf("receive buffer of %s: %w", c.Name, err)
	}
	if err := unix.SetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1); err != nil {
		return nil, fmt.Errorf("receive stamps of %s: %w", c.Name, err)
	}
	// What leaves by the port, floods and other hosts' answers, is not the host's.
	if err := unix.SetsockoptInt(p.fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1); err != nil {
		return nil, fmt.Errorf("listen to %s: %w", c.Name, err)
	}
	if err := attach(p.fd, w.src.mac); err != nil {
		return nil, fmt.Errorf("filter of %s: %w", c.Name, err)
	}
	if err := unix.Bind(p.fd, &unix.SockaddrLinklayer{Protocol: htons(every), Ifindex: link.Index}); err != nil {
		return nil, fmt.Errorf("bind to %s: %w", c.Name, err)
	}
	for _, a := range w.cfg.Addrs {
		p.frames = append(p.frames, udpQuestion(w.src, mac, a, w.cfg.EchoPort, []byte{1}))
		if a.Is4() {
			p.frames = append(p.frames, arpQuestion(w.src, a))
		} else {
			p.frames = append(p.frames, ndQuestion(w.src, a))
		}
	}
	return p, nil
}

func htons(v uint16) uint16 { return v<<8 | v>>8 }

// askAll asks on absolute moments and notes where it paused.
func (w *watcher) askAll(ended <-chan struct{}) (asked int, pauses []Span) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	next, last := mono.Now(), mono.Now()
	for {
		select {
		case <-ended:
			return asked, pauses
		default:
		}
		if now := mono.Now(); now.Sub(last) > InFlight {
			pauses = append(pauses, Span{last, now})
		}
		last = mono.Now()
		for _, p := range w.ports {
			w.askOn(p)
		}
		asked++
		next = next.Add(Interval)
		if now := mono.Now(); next < now {
			next = next.Add(now.Sub(next).Truncate(Interval) + Interval)
		}
		mono.SleepUntil(next)
	}
}

// mostAgain bounds the questions that are repeated in one round: a watcher that
// keeps a core busy would measure itself.
const mostAgain = 50

func (w *watcher) askOn(p *port) {
	if w.cfg.Once {
		w.askAgain(p)
		return
	}
	for _, frame := range p.frames {
		// A wire that is down takes nothing: so nobody answers on it either.
		_ = unix.Send(p.fd, frame, unix.MSG_DONTWAIT)
	}
}

// askAgain asks for some of the addresses that were announced and not answered
// for; the map's order makes it others each time.
func (w *watcher) askAgain(p *port) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, frame := range p.pending {
		if n++; n > mostAgain {
			return
		}
		_ = unix.Send(p.fd, frame, unix.MSG_DONTWAIT)
	}
}

// once asks for an address as soon as it is announced; w.mu is held.
func (w *watcher) once(p *port, s sign) {
	key := holding{addr: s.addr, mac: s.mac}
	switch {
	case s.method == UDP:
		w.seen[key] = true
		delete(p.pending, s.addr)
	case !w.seen[key] && p.pending[s.addr] == nil:
		frame := udpQuestion(w.src, p.mac, s.addr, w.cfg.EchoPort, []byte{1})
		p.pending[s.addr] = frame
		_ = unix.Send(p.fd, frame, unix.MSG_DONTWAIT)
	}
}

func (w *watcher) listen(p *port) {
	runtime.LockOSThread() // blocks in the kernel, not in the runtime's poller
	buf, oob := make([]byte, 2048), make([]byte, 128)
	for {
		n, oobn, _, _, err := unix.Recvmsg(p.fd, buf, oob, 0)
		if errors.Is(err, unix.EBADF) {
			return
		}
		if err != nil {
			continue // ENETDOWN once for each cut
		}
		s, ok := parse(buf[:n], w.src.mac)
		if !ok {
			continue
		}
		at := mono.Stamp(oob[:oobn])
		w.mu.Lock()
		if w.addrs[s.addr] {
			w.runs.Add(Answer{At: at, Addr: s.addr, MAC: s.mac, Method: s.method})
			if w.cfg.Once {
				w.once(p, s)
			}
		}
		w.mu.Unlock()
	}
}
