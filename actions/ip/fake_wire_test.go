package ip

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/flip-ha/flip/actions/wire"
)

type fakeGate world

func (g *fakeGate) Add(list []netip.Addr) error {
	w := (*world)(g)
	w.pause()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, fmt.Sprintf("gate-call %d", len(list)))
	if err := w.fail["gate"]; err != nil {
		return err
	}
	for _, a := range list {
		w.note("gate", a, "")
		w.inGate[a] = true
	}
	return nil
}

func (g *fakeGate) Remove(list []netip.Addr) error {
	w := (*world)(g)
	w.pause()
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.fail["ungate"]; err != nil {
		return err
	}
	for _, a := range list {
		w.note("ungate", a, "")
		delete(w.inGate, a)
	}
	return nil
}

func (w *world) Announce(_ wire.Link, addrs []netip.Addr, permit func(netip.Addr) error) (int, error) {
	w.mu.Lock()
	w.events = append(w.events, fmt.Sprintf("announce-call %d", len(addrs)))
	mute := w.mute
	w.mu.Unlock()
	if mute != nil {
		return 0, mute
	}
	sent := 0
	for _, a := range addrs {
		if permit(a) != nil {
			continue
		}
		sent++
		w.mu.Lock()
		slow := w.slowFrame
		w.mu.Unlock()
		if slow > 0 {
			time.Sleep(slow)
		}
		w.mu.Lock()
		w.note("announce", a, "")
		w.sent = append(w.sent, frame{at: time.Since(w.start), addr: a})
		w.mu.Unlock()
	}
	return sent, nil
}

func (w *world) Tell(_ wire.Link, addr netip.Addr, to []wire.Target, permit func(netip.Addr) error) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, target := range to {
		w.mu.Unlock()
		err := permit(addr)
		w.mu.Lock()
		if err != nil {
			return i, nil
		}
		w.sent = append(w.sent, frame{at: time.Since(w.start), addr: addr, to: target.IP})
	}
	return len(to), nil
}

func (w *world) Ask(ctx context.Context, _ wire.Link, addrs []netip.Addr, answers chan<- wire.Answer) error {
	w.mu.Lock()
	deaf := w.deaf
	for _, a := range addrs {
		w.note("ask", a, "")
	}
	w.mu.Unlock()
	if deaf != nil {
		return deaf
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		for _, a := range addrs {
			w.mu.Lock()
			m := w.answers[a]
			w.mu.Unlock()
			if m == nil {
				continue
			}
			select {
			case answers <- wire.Answer{Addr: a, MAC: m}:
			case <-ctx.Done():
			}
		}
	}
}
