package probe

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/flip-ha/flip/e2e/mono"
)

// questionLen is a sequence number; the echo puts its host's name behind it.
const questionLen = 8

// Run is the prober's process: it probes from now until stop is closed by the
// other side, waits for late answers, and writes the series as JSON. It says
// on out, with a line, that it has begun.
func Run(cfg Config, stop io.Reader, out io.Writer) error {
	var lines []*asker
	for _, t := range cfg.Targets {
		a, err := newAsker(t)
		if err != nil {
			return err
		}
		lines = append(lines, a)
		go a.listen()
	}
	ended := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, stop)
		close(ended)
	}()
	if _, err := fmt.Fprintln(out, "probing"); err != nil {
		return fmt.Errorf("say that the prober runs: %w", err)
	}
	sendAll(lines, ended)
	mono.SleepUntil(mono.Now().Add(Limit))
	var all []Series
	for _, a := range lines {
		all = append(all, a.series())
	}
	if err := json.NewEncoder(out).Encode(all); err != nil {
		return fmt.Errorf("write what was probed: %w", err)
	}
	return nil
}

// sendAll asks every target on absolute moments; those that were missed are
// left out, so that a pause shows as one.
func sendAll(lines []*asker, ended <-chan struct{}) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	next := mono.Now()
	for tick := 0; ; tick++ {
		select {
		case <-ended:
			return
		default:
		}
		for _, a := range lines {
			if tick%max(a.target.Every, 1) == 0 {
				a.ask()
			}
		}
		next = next.Add(Interval)
		if now := mono.Now(); next < now {
			next = next.Add(now.Sub(next).Truncate(Interval) + Interval)
		}
		mono.SleepUntil(next)
	}
}

// asker has the socket of one target.
type asker struct {
	target Target
	fd     int
	to     unix.Sockaddr

	mu     sync.Mutex
	probes []Probe
	hosts  []string
}

func newAsker(t Target) (*asker, error) {
	a := &asker{target: t}
	family := unix.AF_INET
	if t.Addr.Addr().Is4() {
		a.to = &unix.SockaddrInet4{Port: int(t.Addr.Port()), Addr: t.Addr.Addr().As4()}
	} else {
		family = unix.AF_INET6
		a.to = &unix.SockaddrInet6{Port: int(t.Addr.Port()), Addr: t.Addr.Addr().As16()}
	}
	var err error
	// Not connected: errors that ICMP brings must not come up at a later probe.
	if a.fd, err = unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return nil, fmt.Errorf("socket for %s: %w", t.Name, err)
	}
	if err := unix.SetsockoptInt(a.fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1); err != nil {
		return nil, fmt.Errorf("receive stamps for %s: %w", t.Name, err)
	}
	return a, nil
}

func (a *asker) ask() {
	a.mu.Lock()
	n := len(a.probes)
	a.probes = append(a.probes, Probe{Sent: mono.Now(), RTT: Never})
	a.mu.Unlock()
	question := make([]byte, questionLen)
	binary.BigEndian.PutUint64(question, uint64(n))
	// What cannot be sent is not answered: that is all that counts here.
	_ = unix.Sendto(a.fd, question, unix.MSG_DONTWAIT, a.to)
}

func (a *asker) listen() {
	runtime.LockOSThread() // blocks in the kernel, not in the runtime's poller
	buf, oob := make([]byte, 256), make([]byte, 128)
	for {
		n, oobn, _, _, err := unix.Recvmsg(a.fd, buf, oob, 0)
		if err != nil || n <= questionLen {
			continue
		}
		a.answered(binary.BigEndian.Uint64(buf), string(buf[questionLen:n]), mono.Stamp(oob[:oobn]))
	}
}

// answered notes an answer, the first one only.
func (a *asker) answered(n uint64, host string, at mono.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if n >= uint64(len(a.probes)) || a.probes[n].RTT != Never {
		return
	}
	i := slices.Index(a.hosts, host)
	if i < 0 {
		i = len(a.hosts)
		a.hosts = append(a.hosts, host)
	}
	p := &a.probes[n]
	p.RTT, p.From = max(at.Sub(p.Sent), 0), byte(i)
}

func (a *asker) series() Series {
	a.mu.Lock()
	defer a.mu.Unlock()
	return Series{Target: a.target, Hosts: a.hosts, Probes: a.probes}
}
