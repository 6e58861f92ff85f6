package actions

import (
	"maps"
	"slices"
	"time"

	"github.com/flip-ha/flip/fsm"
)

// look is what a Step finds: what is unfit, and which bets are over.
func (o *oracle) look() {
	was := maps.Clone(o.known)
	clear(o.known)
	bets := map[bet]time.Duration{}
	for i := range o.slice.Want {
		j := &o.slice.Want[i]
		if o.known[j.Key] = o.words[j.Key]; j.Maintained && o.comes(j.Key) {
			o.known[j.Key] = ""
		}
		if was[j.Key] != "" && o.known[j.Key] == "" && !j.Maintained {
			o.thing(j.Key).failed = 0 // it is tried at once
		}
		if o.known[j.Key] != "" && !j.Keep && !j.Maintained {
			o.ever[j.Key] = true
		}
		var won []fsm.Claim
		for n := range j.Blocked {
			b := &j.Blocked[n]
			id, claim := bet{b.Member, b.Epoch}, claimOf(b)
			since, placed := o.bets[id]
			if !placed {
				since = o.now
			}
			if b.After > 0 {
				bets[id] = since
			}
			if slices.Contains(o.won[j.Key], claim) || b.After > 0 && o.now >= since+b.After {
				won = append(won, claim)
			}
		}
		o.won[j.Key] = won
	}
	o.bets = bets
}

// failures checks what a report says of what is unfit, and of what was.
func (o *oracle) failures(r fsm.Report) {
	said := map[fsm.Key]string{}
	for _, f := range r.Failed {
		said[f.Key] = f.Err
		if j := o.wanted(f.Key); j == nil || j.Token != f.Token || j.Failed {
			o.fail("failed %v@%d, which the log knows or does not want", f.Key, f.Token)
		}
	}
	for i := range o.slice.Want {
		j := &o.slice.Want[i]
		if j.Maintained && o.known[j.Key] != "" && said[j.Key] == o.known[j.Key] {
			o.fail("%v is reported unfit under maintenance", j.Key)
		}
		silent := j.Maintained || o.slice.Epoch == 0 || j.Keep || j.Barred || j.Failed || j.Token == 0 || o.mode != serving
		if words := o.known[j.Key]; words != "" && !silent && said[j.Key] != words {
			o.fail("%v is unfit (%s), reported is %q", j.Key, words, said[j.Key])
		}
	}
	for _, k := range r.Mended {
		listed := slices.ContainsFunc(o.slice.Failed, func(j fsm.Job) bool { return j.Key == k })
		if !o.ever[k] || !listed {
			o.fail("%v is reported mended; ever unfit: %v, known to have failed: %v", k, o.ever[k], listed)
		}
	}
}

// gate checks whether the gate may open, in the dumbest way.
func (o *oracle) gate() {
	epoch, ok := o.Clear()
	if epoch != o.slice.Epoch || ok && !o.trusted() {
		o.fail("the gate may open for epoch %d, the slice's is %d", epoch, o.slice.Epoch)
	}
	idle := o.trusted()
	for k, t := range o.item {
		j := o.wanted(k)
		coming := slices.ContainsFunc(o.flight, func(e Effect) bool {
			return e.Job.Key == k && e.Kind == Acquire && !o.slots[k].cancelled
		})
		may := !jobKeep(j) && o.mayHoldUnder(j, true) && sameDefinition(*j, t.job) && (t.up && !t.lapsed || coming)
		for m := range t.by {
			idle = idle && !t.gated[m]
			ours := may && means(j) == m
			if ok && t.gated[m] && !ours {
				o.fail("the gate may open over %v", k)
			}
		}
		idle = idle && !t.going && len(t.doubt) == 0 && (j == nil || !j.Gated || fsm.Epoch(j.Token) >= o.epoch)
	}
	idle = idle && !slices.ContainsFunc(o.slice.Owe, func(w fsm.Owed) bool { return w.Gated })
	if idle && !ok {
		o.fail("the gate may not open, and nothing gated is up")
	}
}
