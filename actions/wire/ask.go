package wire

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// probeRounds is when, counted from the beginning, a question is asked again:
// once within the 5 ms that plumbing waits for, in case the first was lost, then
// ever more rarely. After the last, every probeRepeat. From the third round on
// the frames are paced.
var probeRounds = [...]time.Duration{0, 2 * time.Millisecond, 50 * time.Millisecond, 200 * time.Millisecond, 500 * time.Millisecond}

const (
	probeRepeat  = 500 * time.Millisecond
	unpacedAsked = 2 // rounds
)

// roundDue is when round number n, from 0, is asked.
func roundDue(n int) time.Duration {
	if n < len(probeRounds) {
		return probeRounds[n]
	}
	return probeRounds[len(probeRounds)-1] + time.Duration(n-len(probeRounds)+1)*probeRepeat
}

// Ask asks who has addrs, again and again, and delivers each frame that shows one
// of them in use: the answers, and what others announce or ask from it. It
// listens before it asks, and returns nil once ctx has ended. Probes claim
// nothing and change no neighbour's table (sender 0.0.0.0, "::"), so that nobody
// need permit them; the probes of others are no answers. Frames that name l's own
// MAC are not either.
//
// Every such frame is delivered, however often a host repeats itself. On a link
// without hardware addresses nobody can answer, and Ask returns at once.
func (w *Wire) Ask(ctx context.Context, l Link, addrs []netip.Addr, answers chan<- Answer) error {
	v4, v6, err := hosts(addrs)
	if err != nil || len(addrs) == 0 || l.silent() {
		return err
	}
	if err := l.check(); err != nil {
		return err
	}
	question, err := w.newQuestion(l, v4, v6)
	if err != nil {
		return err
	}
	return question.run(ctx, answers)
}

// A question is one Ask.
type question struct {
	w         *Wire
	l         Link
	round     *round
	v4, v6    []netip.Addr
	asked     map[netip.Addr]bool
	receivers []*receiver
}

func (w *Wire) newQuestion(l Link, v4, v6 []netip.Addr) (*question, error) {
	s, err := w.packetSocket()
	if err != nil {
		return nil, err
	}
	q := &question{w: w, l: l, v4: v4, v6: v6, asked: map[netip.Addr]bool{}}
	q.round = w.newRound(s, l, "ask for", &w.probed, nil)
	for _, addr := range slices.Concat(v4, v6) {
		q.asked[addr] = true
	}
	for _, family := range []struct {
		addrs    []netip.Addr
		protocol uint16
		filter   func([]netip.Addr) []unix.SockFilter
	}{{v4, unix.ETH_P_ARP, arpFilter}, {v6, unix.ETH_P_IPV6, ndFilter}} {
		if len(family.addrs) == 0 {
			continue
		}
		r, err := w.take(l, family.protocol, family.filter(family.addrs))
		if err != nil {
			q.putBack()
			return nil, err
		}
		q.receivers = append(q.receivers, r)
	}
	return q, nil
}

func (q *question) putBack() {
	for _, r := range q.receivers {
		q.w.put(r)
	}
}

// run asks on the caller's goroutine and reads on one for each family; all have
// ended when it returns.
func (q *question) run(ctx context.Context, answers chan<- Answer) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var readers sync.WaitGroup
	failures := make([]error, len(q.receivers))
	for i, r := range q.receivers {
		readers.Go(func() {
			failures[i] = r.read(q.l, func(frame []byte, from net.HardwareAddr) {
				answer, ok := q.recognize(r.key.protocol, frame, from)
				if !ok {
					return
				}
				q.w.answers.Add(1)
				select {
				case answers <- answer:
				case <-ctx.Done():
				}
			})
			cancel(nil) // a reader that ends by itself has failed
		})
	}
	err := q.ask(ctx)
	cancel(nil)
	for _, r := range q.receivers {
		r.wake()
	}
	readers.Wait()
	q.putBack()
	if err != nil {
		return err
	}
	return errors.Join(failures...)
}

// ask sends the rounds until ctx ends.
func (q *question) ask(ctx context.Context) error {
	start := time.Now()
	var pacer Pacer
	timer := time.NewTimer(0)
	defer timer.Stop()
	waitFor := func(d time.Duration) bool {
		timer.Reset(d)
		select {
		case <-timer.C:
			return ctx.Err() == nil
		case <-ctx.Done():
			return false
		}
	}
	probes := slices.Concat(q.v4, q.v6)
	for n := 0; ; n++ {
		if n > 0 && !waitFor(time.Until(start.Add(roundDue(n)))) {
			return nil
		}
		for left := probes; len(left) > 0; {
			granted, wait := len(left), time.Duration(0)
			if n >= unpacedAsked {
				granted, wait = pacer.Take(time.Now(), len(left))
			}
			if err := q.probe(ctx, left[:granted]); err != nil {
				return err
			}
			left = left[granted:]
			if ctx.Err() != nil || wait > 0 && !waitFor(wait) {
				return nil
			}
		}
	}
}

// probe sends one probe for each address. A full queue is no reason to give up: the
// next round follows.
func (q *question) probe(ctx context.Context, addrs []netip.Addr) error {
	r := q.round
	var message []byte
	for _, addr := range addrs {
		if ctx.Err() != nil {
			return nil
		}
		if addr.Is4() {
			r.one.frame = AppendProbe(r.one.frame[:0], q.l.MAC, addr)
			r.toAllOnARP()
		} else {
			group := solicitedNode(addr)
			message = AppendSolicit(message[:0], nil, addr)
			r.one.frame = AppendIPv6(r.one.frame[:0], netip.IPv6Unspecified(), group, message)
			r.one.to = linkTo(q.l, unix.ETH_P_IPV6, multicastMAC(group))
		}
		ok, stop := r.send(addr)
		if ok {
			continue
		}
		err := r.first
		r.first, r.failed = nil, 0
		if !errors.Is(err, ErrBusy) {
			return err
		}
		if stop {
			return nil
		}
	}
	return nil
}

// recognize finds in a frame the asked address that it shows in use.
func (q *question) recognize(protocol uint16, frame []byte, from net.HardwareAddr) (Answer, bool) {
	answer, err := claim(protocol, frame, from)
	if err != nil || !q.asked[answer.Addr] || bytes.Equal(answer.MAC, q.l.MAC) {
		return Answer{}, false
	}
	return answer, true
}

// claim is which address a frame shows in use, and by which MAC: the one that
// neighbours would note. from is the frame's own sender.
func claim(protocol uint16, frame []byte, from net.HardwareAddr) (Answer, error) {
	if protocol == unix.ETH_P_ARP {
		arp, err := ParseARP(frame)
		if err != nil {
			return Answer{}, err
		}
		return Answer{Addr: arp.SenderIP, MAC: arp.SenderMAC}, nil
	}
	nd, err := ParseND(frame)
	if err != nil {
		return Answer{}, err
	}
	answer := Answer{Addr: nd.Target, MAC: nd.MAC}
	if !nd.Advert {
		answer.Addr = nd.Source // "::" of a probe is not an address that was asked for
	}
	if !answer.Addr.IsValid() {
		return Answer{}, fmt.Errorf("%w: no address", errFrame)
	}
	if answer.MAC == nil {
		answer.MAC = slices.Clone(from)
	}
	return answer, nil
}
