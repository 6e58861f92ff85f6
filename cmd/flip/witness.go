package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/flip-ha/flip/fsm"
)

const (
	// witnessEvery is how often it is looked whether an answer is to be asked for: it
	// is a check afterwards, not a part of the takeover.
	witnessEvery = 500 * time.Millisecond
	// lookAfter an acquisition the third announcement is out; a switch that
	// dropped the first ones has learned by then.
	lookAfter = 1500 * time.Millisecond
	// lookTurn is how long the next member in the ring waits for the one before,
	// which may be in no subnet of the address.
	lookTurn = 3 * time.Second
	// lookAgain is when an answer that was not right is asked for again.
	lookAgain = 10 * time.Second
	// lookFor is how long answers are waited for.
	lookFor = 300 * time.Millisecond
	// lookMany is how many addresses are asked for at one time, so that a thousand
	// takeovers are no storm of broadcasts.
	lookMany = 128
)

// answers are the hardware addresses that answered for each address.
type answers map[netip.Addr][]net.HardwareAddr

// witness is a member that looks, after a takeover by another one, who answers
// on the wire, and has it recorded. What it sees changes nothing: it is the
// proof, or the alarm.
type witness struct {
	self   fsm.MemberID
	log    zerolog.Logger
	view   func() (*fsm.State, fsm.Index)
	epoch  func() fsm.Epoch
	whose  func(net.HardwareAddr) fsm.MemberID // "": no member's
	knows  func(fsm.MemberID) bool             // whether its hardware addresses are known
	ask    func(ctx context.Context, addrs []netip.Addr) (answers, error)
	report func(context.Context, fsm.Report) error

	due map[fsm.Key]look
}

// look is when a slot is to be looked at.
type look struct {
	token fsm.Token
	at    time.Time
}

func (w *witness) run(ctx context.Context) error {
	w.due = map[fsm.Key]look{}
	tick := time.NewTicker(witnessEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		state, _ := w.view()
		due := w.pending(state, time.Now())
		for chunk := range slices.Chunk(due, lookMany) {
			w.look(ctx, state, chunk)
		}
	}
}

// pending lists the slots that are to be looked at now.
func (w *witness) pending(s *fsm.State, now time.Time) []fsm.Slot {
	var out []fsm.Slot
	seen := map[fsm.Key]bool{}
	for id, sys := range s.Spec().Systems {
		if sys.Action != fsm.ActionIP {
			continue
		}
		for slot := range s.SlotsOf(id) {
			if !w.concerns(s, slot) {
				continue
			}
			seen[slot.Key] = true
			next, known := w.due[slot.Key]
			if !known || next.token != slot.Token {
				turn := time.Duration(w.turn(s, slot.Owner)) * lookTurn
				w.due[slot.Key] = look{slot.Token, now.Add(lookAfter + turn)}
			} else if !now.Before(next.at) {
				w.due[slot.Key] = look{slot.Token, now.Add(lookAgain)}
				out = append(out, slot)
			}
		}
	}
	for k := range w.due {
		if !seen[k] {
			delete(w.due, k)
		}
	}
	slices.SortFunc(out, func(a, b fsm.Slot) int { return a.Compare(b.Key) })
	return out
}

// concerns reports whether a slot is another member's, up, and not seen right
// yet.
func (w *witness) concerns(s *fsm.State, slot fsm.Slot) bool {
	owner, known := s.Member(slot.Owner)
	if slot.Owner == w.self || !known || !owner.Up || slot.Acquired != owner.Epoch {
		return false
	}
	if slot.Seen == nil || slot.Seen.Token != slot.Token {
		return true
	}
	return !slot.Seen.OK && slot.Seen.By == w.self // whoever raised an alarm looks again
}

// turn is how many members come before this one in asking for what owner has:
// those that are up and follow it in the ring of all names.
func (w *witness) turn(s *fsm.State, owner fsm.MemberID) int {
	var ring []fsm.MemberID
	for id, m := range s.Members() {
		if id != owner && m.Up {
			ring = append(ring, id)
		}
	}
	slices.Sort(ring)
	first, _ := slices.BinarySearch(ring, owner)
	mine, _ := slices.BinarySearch(ring, w.self)
	if len(ring) == 0 {
		return 0
	}
	return (mine - first + len(ring)) % len(ring)
}

// look asks the wire for some slots and has recorded what is new.
func (w *witness) look(ctx context.Context, s *fsm.State, slots []fsm.Slot) {
	addrs := map[fsm.Key][]netip.Addr{}
	var all []netip.Addr
	for _, slot := range slots {
		for _, text := range s.Job(slot).Addrs {
			if p, err := netip.ParsePrefix(text); err == nil {
				addrs[slot.Key] = append(addrs[slot.Key], p.Addr())
				all = append(all, p.Addr())
			}
		}
	}
	asking, cancel := context.WithTimeout(ctx, lookFor)
	got, err := w.ask(asking, all)
	cancel()
	if err != nil || ctx.Err() != nil { // in no subnet of theirs: it is another member's turn
		w.log.Debug().Err(err).Msg("nobody can be asked who answers for what others hold")
		return
	}
	r := fsm.Report{Member: w.self, Epoch: w.epoch(), At: time.Now().UnixMilli()}
	for _, slot := range slots {
		seen, ok := w.judge(slot, addrs[slot.Key], got)
		if ok && (slot.Seen == nil || slot.Seen.Token != slot.Token || slot.Seen.OK != seen.OK || slot.Seen.Answer != seen.Answer) {
			r.Seen = append(r.Seen, seen)
		}
	}
	if len(r.Seen) == 0 {
		return
	}
	if err := w.report(ctx, r); err != nil {
		w.log.Debug().Err(err).Msg("what was seen on the wire is not recorded; it is looked again")
	}
}

// judge says what the answers mean; false: nothing can be said, since it is not
// known which hardware addresses are the owner's, or this host cannot ask.
func (w *witness) judge(slot fsm.Slot, addrs []netip.Addr, got answers) (fsm.Sighting, bool) {
	seen := fsm.Sighting{Key: slot.Key, Token: slot.Token, OK: true}
	if !w.knows(slot.Owner) || len(addrs) == 0 {
		return seen, false
	}
	var wrong []string
	for _, a := range addrs {
		macs, asked := got[a]
		if !asked {
			return seen, false
		}
		if len(macs) == 0 {
			wrong = append(wrong, fmt.Sprintf("nobody answers for %s", a))
		}
		slices.SortFunc(macs, func(a, b net.HardwareAddr) int { return bytes.Compare(a, b) })
		for _, mac := range macs {
			if who := w.whose(mac); who != slot.Owner {
				wrong = append(wrong, fmt.Sprintf("%s answers for %s: %s", mac, a, cmp.Or(string(who), "no member")))
			}
		}
	}
	seen.OK, seen.Answer = len(wrong) == 0, strings.Join(wrong, "; ")
	return seen, true
}
