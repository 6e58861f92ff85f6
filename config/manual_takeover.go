package config

import (
	"fmt"
	"strings"
	"time"

	"github.com/flip-ha/flip/fsm"
)

// manualTakeover writes what a takeover from a lost member waits for.
func manualTakeover(b *strings.Builder) {
	b.WriteString(`
## Takeover from a lost member

At-least-one items wait for nobody. An at-most-one item of a member that was called down is taken over once that member has surely let go
of it: with the gate at once, since the kernel has ended the address with the lease; else when that member is back and has reported, or
says goodbye, or its guard does. Where that may never happen there are two ways out: a bet on time, and a fence. ` + "`flip item release --force`" + ` is
the third, by hand. Where several are there the first counts.

### A bet on time: addresses without the gate

A member without the gate (no nf_tables, or ` + "`\"gate\": \"off\"`" + `) is trusted to the lifetime that its kernel keeps for each address: the
lease in whole seconds plus one. It is removed up to 1.5 s late, and clocks may differ by 10 %. So ` + "`takeover_after`" + ` is at least

| timing | lifetime of an address | smallest ` + "`takeover_after`" + `, and its default |
|---|---|---|
`)
	for _, word := range presets {
		t, _ := Preset(word)
		fmt.Fprintf(b, "| %s | %s | %s |\n", word, short(fsm.AddressLifetime(t.Lease)), short(fsm.SafeTakeover(t.Lease)))
	}
	b.WriteString(`
and counts from when the new owner learns that the member was called down. With "never" the address waits until that member returns. With
a ` + "`fence`" + ` there is no default: an address is bet upon only where ` + "`takeover_after`" + ` stands beside it.
`)
	manualHookBet(b)
	b.WriteString(manualFence)
}

// manualHookBet writes what a bet on a hook's effect needs.
func manualHookBet(b *strings.Builder) {
	patience, dead, kill, busy := short(fsm.GuardPatience(0)), short(fsm.WaitForDead), short(fsm.TermToKill), short(fsm.SchedulingDelay)
	fmt.Fprintf(b, `
### A bet on time: hooks

What a hook has done only a hook undoes. When a member loses its lease, the daemon runs `+"`down`"+`; if the daemon is dead or hangs, its guard
does. Without `+"`takeover_after`"+` nobody relies on that. With it the new owner runs `+"`alive`"+` when that time has passed since it learnt that the
member was called down, whatever it has heard of it. This is safe from

    1.1 x (P + %s + 2 x (%s + stop_timeout) + %s)

on, where P is three intervals of heartbeats, and at least %s. A daemon that has lost its lease lets go by itself: it ends `+"`alive`"+` (TERM, %s later KILL), and `+"`down`"+` takes up to `+"`stop_timeout`"+`. Should it hang
or die just before that is done, its guard begins P later, waits %s for the end of the daemon, and does the same again; a busy machine
does it up to %s late, and clocks may differ by 10 %%.

| timing | stop_timeout | smallest safe `+"`takeover_after`"+` |
|---|---|---|
`, dead, kill, busy, patience, kill, dead, busy)
	for _, word := range presets {
		t, _ := Preset(word)
		for _, stop := range []time.Duration{time.Second, 10 * time.Second, defaultTimeout} {
			fmt.Fprintf(b, "| %s | %s | %s |\n", word, short(stop), short(fsm.SafeHookTakeover(t, fsm.System{StopTimeout: stop})))
		}
	}
	b.WriteString(`
A shorter time is taken as it is, with a warning. So set ` + "`stop_timeout`" + ` to what ` + "`down`" + ` really needs. The bet is lost, and the item has two
holders, if the guard is gone as well as the daemon and the machine lives on, or if ` + "`down`" + ` fails. No bet is made on a member that runs,
on one that has reported that the item failed there, or on a former instance that may still have a lease.
`)
}

const manualFence = `
### A fence

` + "`fence`" + ` is a command that makes sure: it switches the lost member off, by its power supply or its hypervisor. The leader's node runs it as soon
as an item waits for a member that was called down, and again with pauses until it succeeds; ` + "`fence_timeout`" + ` ends it each time. It is started as
hooks are, with the member as the first argument and the config as the second; FLIP_FENCE_MEMBER, FLIP_FENCE_EPOCH and FLIP_FENCE_MACHINE
say whom too, FLIP_SYSTEM for what. Exit 0 means that the machine is off, or has been since: then all that it may have held is free. It must
not say so without knowing.

` + "```json" + `
"mail": {
  "type": "choose_one",
  "guarantee": "at-most-one",
  "alive": "mail_up",
  "down": "mail_down",
  "stop_timeout": "10s",
  "fence": "/etc/flip/fence-ipmi",
  "fence_timeout": "30s",
  "data": ["mail"]
}
` + "```" + `

Nobody who runs is fenced, nobody for a system under maintenance (` + "`flip maintenance on`" + `), and of a member that moved to another machine only
the one that it registered on last: a command that is given a name switches off what goes by that name.
`
