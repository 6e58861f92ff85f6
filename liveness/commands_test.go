package liveness

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/flip-ha/flip/fsm"
)

// commands are what scripts can say.
var commands = map[string]func(*world, words){
	// cluster n1,n2,n3 [ttl=] [beat=] [quorum=]: the log's first two entries.
	"cluster": func(w *world, ws words) {
		w.setSpec(ws)
		w.voters(ws.names)
	},
	// without RULE: processes started from here on leave it out.
	"without": func(w *world, ws words) {
		for _, name := range ws.names {
			rule, ok := named[string(name)]
			if !ok {
				ws.t.Fatalf("no such rule: %s", name)
			}
			if w.mutants {
				w.without |= rule
			}
		}
	},
	// start n1,n2 [machine=] [boot=] [instance=] [rate=]
	"start": func(w *world, ws words) {
		for _, name := range ws.names {
			n := w.node(name)
			for key, field := range map[string]*string{
				"machine": &n.host.Machine, "boot": &n.host.Boot, "instance": &n.host.Instance,
			} {
				if v, ok := ws.pairs[key]; ok {
					*field = v
				}
			}
			w.start(n, 0)
		}
		w.spread()
	},
	// clock n1 rate=1.1
	"clock": func(w *world, ws words) {
		for _, name := range ws.names {
			n := w.node(name)
			n.base, n.from = n.local(w.now), w.now
			n.rate = float64(ws.number("percent", 100)) / 100
		}
	},
	"kill": func(w *world, ws words) {
		for _, name := range ws.names {
			w.kill(w.node(name))
		}
	},
	// die n3 [kept=a+b]: a process that has a guard
	"die": func(w *world, ws words) {
		for _, name := range ws.names {
			w.die(w.node(name), ws.kept())
		}
	},
	// unguard n3: the guard is gone too
	"unguard": func(w *world, ws words) {
		for _, name := range ws.names {
			w.node(name).guard = nil
		}
	},
	// freeze n2 for=280ms: it does nothing, and what arrives waits
	"freeze": func(w *world, ws words) {
		for _, name := range ws.names {
			w.node(name).frozen = w.now + ws.span("for", 0)
			w.printf("%s stands still for %s", name, ms(ws.span("for", 0)))
		}
	},
	// lead n1, or nobody: lead -
	"lead": func(w *world, ws words) {
		w.leader = ws.names[0]
		w.printf("%s leads", w.leader)
		for _, n := range w.running() {
			if !w.apart(n.name, w.leader) { // who is cut off does not hear of it
				w.read(n, n.applied)
			}
		}
		w.spread()
	},
	"run": func(w *world, ws words) {
		d, err := time.ParseDuration(string(ws.names[0]))
		if err != nil {
			ws.t.Fatal(err)
		}
		w.run(w.now + d)
	},
	// to 1.5s: up to a moment
	"to": func(w *world, ws words) {
		d, err := time.ParseDuration(string(ws.names[0]))
		if err != nil {
			ws.t.Fatal(err)
		}
		w.run(d)
	},
	// cut n1>n2, n1-n2: datagrams; what is cut both ways loses the log too
	"cut": func(w *world, ws words) {
		for _, name := range ws.names {
			for _, c := range way(string(name)) {
				w.cuts[c] = true
			}
		}
	},
	"isolate": func(w *world, ws words) {
		for _, name := range ws.names {
			for _, other := range w.names {
				if other != name {
					w.cuts[[2]fsm.MemberID{name, other}] = true
					w.cuts[[2]fsm.MemberID{other, name}] = true
				}
			}
		}
	},
	// heal [n1>n2 …]
	"heal": func(w *world, ws words) {
		if len(ws.names) == 0 {
			clear(w.cuts)
		}
		for _, name := range ws.names {
			for _, c := range way(string(name)) {
				delete(w.cuts, c)
			}
		}
		w.spread()
		for _, n := range w.running() {
			if !w.apart(n.name, w.leader) {
				w.read(n, n.applied)
			}
		}
	},
	// delay n1>n2 by=400ms
	"delay": func(w *world, ws words) {
		for _, name := range ws.names {
			for _, c := range way(string(name)) {
				w.delays[c] = ws.span("by", w.netDelay)
			}
		}
	},
	// stall and flow: proposals wait, and are committed
	"stall": func(w *world, _ words) { w.stalled = true },
	// fail: proposals vanish, until flow
	"fail": func(w *world, _ words) { w.fails = true },
	"flow": func(w *world, _ words) { w.flow() },
	// lag n3 reads no log, catchup n3 does again
	"lag": func(w *world, ws words) {
		for _, name := range ws.names {
			w.node(name).lags = true
		}
	},
	"catchup": func(w *world, ws words) {
		for _, name := range ws.names {
			w.node(name).lags = false
		}
		w.spread()
	},
	// mute n3 proposes no registration, speak n3 does again
	"mute": func(w *world, ws words) {
		for _, name := range ws.names {
			w.node(name).mute = true
		}
	},
	"speak": func(w *world, ws words) {
		for _, name := range ws.names {
			w.node(name).mute = false
			if n := w.node(name); n.p != nil {
				w.after(n)
			}
		}
	},
	"verbose": func(w *world, ws words) { w.verbose = ws.names[0] == "on" },
	"spec":    func(w *world, ws words) { w.setSpec(ws) },
	"voters":  func(w *world, ws words) { w.voters(ws.names) },
	// change n1,n2,n4: a list of voters that the leader may start now, or nothing
	"change": func(w *world, ws words) {
		if l := w.nodes[w.leader]; l.p.MayChangeVoters(l.local(w.now)) {
			w.voters(ws.names)
			return
		}
		w.printf("%s may not change the voters yet", w.leader)
	},
	// reread n3 at=5: the log as it was
	"reread": func(w *world, ws words) {
		for _, name := range ws.names {
			n := w.node(name)
			at := fsm.Index(ws.number("at", 0))
			w.printf("%s reads the log at %d", name, at)
			w.send(n, n.p.Read(n.local(w.now), w.shown(n, at), at, false, ""))
		}
	},
	// latest n1 list=n1: an uncommitted list
	"latest": func(w *world, ws words) {
		var names []fsm.MemberID
		for name := range strings.SplitSeq(ws.pairs["list"], "+") {
			names = append(names, fsm.MemberID(name))
		}
		for _, name := range ws.names {
			n := w.node(name)
			n.p.Latest(n.local(w.now), w.list(w.index()+1, names))
			w.after(n)
		}
	},
	// assign a to=n1
	"assign": func(w *world, ws words) {
		for _, item := range ws.names {
			key := fsm.Key{System: "s", Item: fsm.ItemID(item)}
			slot, _ := w.state().Slot(key)
			to := fsm.MemberID(ws.pairs["to"])
			w.commit(fsm.Assign{Moves: []fsm.Move{{Key: key, Was: slot.Token, Home: to, To: to, Reason: "script"}}})
		}
	},
	// down n3 [epoch=]: an entry that a leader before proposed
	"down": func(w *world, ws words) {
		m, _ := w.state().Member(ws.names[0])
		w.commit(fsm.Down{
			Member: ws.names[0], Epoch: fsm.Epoch(ws.number("epoch", int(m.Epoch))), Voters: w.state().Voters().Index,
		})
	},
	// other n3 machine=m: a registration by a process that is not running here
	"other": func(w *world, ws words) {
		m, _ := w.state().Member(ws.names[0])
		host := fsm.Host{Machine: ws.pairs["machine"], Boot: "b", Instance: "other"}
		w.commit(fsm.Register{
			Member: ws.names[0], Nonce: fsm.Nonce{9}, Process: fsm.Nonce{9, 9}, Replaces: m.Epoch, Host: host,
		})
	},
	"remove": func(w *world, ws words) { w.commit(fsm.RemoveMember{Member: ws.names[0]}) },
	// probe fills the log with an entry that means nothing
	"probe": func(w *world, _ words) { w.commit(fsm.Probe{}) },
	// goodbye n1 [kept=a+b]
	"goodbye": func(w *world, ws words) {
		kept := ws.kept()
		for _, name := range ws.names {
			n := w.node(name)
			w.printf("%s stops, kept %v", name, kept)
			n.p.Goodbye(n.local(w.now), kept)
			w.after(n)
		}
	},
	"nogate": func(w *world, ws words) {
		for _, name := range ws.names {
			n := w.node(name)
			n.p.DropGate(n.local(w.now))
			w.after(n)
		}
	},
	// from a1 source=n2: an agent reads from that one now
	"from": func(w *world, ws words) {
		for _, name := range ws.names {
			w.readFrom(w.node(name), fsm.MemberID(ws.pairs["source"]))
		}
	},
	// release a by=a1: what the new owner waits for is gone
	"release": func(w *world, ws words) {
		for _, item := range ws.names {
			w.release(fsm.MemberID(ws.pairs["by"]), fsm.ItemID(item))
		}
	},
	// promote a1, demote n3: the role that a process has from now on
	"promote": func(w *world, ws words) { w.roles(ws.names, true) },
	"demote":  func(w *world, ws words) { w.roles(ws.names, false) },
	"inject":  inject,
	"state":   func(w *world, ws words) { w.report(ws.names) },
}

// inject from=n2 to=n1 msg=ack|heartbeat|ballot|poll with numbers of one's own.
func inject(w *world, ws words) {
	from, to := w.node(fsm.MemberID(ws.pairs["from"])), w.node(fsm.MemberID(ws.pairs["to"]))
	of := fsm.MemberID(ws.pairs["of"])
	shown, _ := w.state().Member(of)
	epoch := fsm.Epoch(ws.number("epoch", int(to.p.Epoch())))
	by := fsm.NewVoterID(to.name, to.host.Instance)
	var msg Message
	switch ws.pairs["msg"] {
	case "ack":
		sent := to.p.member.lease.sent.at
		at := sent[len(sent)-1] // a true one
		if ws.pairs["sent"] != "last" {
			at = to.local(ws.span("sent", w.now))
		}
		msg = Ack{
			Epoch: epoch, Sent: at, TTL: ws.span("ttl", defaultLease),
			Voters: fsm.Voters{Index: w.state().Voters().Index}, Applied: fsm.Index(ws.number("applied", 0)),
		}
	case "heartbeat":
		shown, _ := w.state().Member(from.name)
		msg = Heartbeat{Epoch: fsm.Epoch(ws.number("epoch", int(shown.Epoch))), Sent: from.local(w.now)}
	case "ballot":
		msg = Ballot{
			Poll:  Poll{By: by, ByEpoch: to.p.Epoch(), Of: of, Epoch: shown.Epoch, At: to.local(ws.span("at", w.now))},
			Voter: fsm.NewVoterID(from.name, from.host.Instance), Voters: fsm.Index(ws.number("list", int(w.state().Voters().Index))),
			TTL: ws.span("ttl", defaultLease),
		}
	default:
		ws.t.Fatalf("no such message: %s", ws.pairs["msg"])
	}
	w.printf("%s>%s %s injected", from.name, to.name, ws.pairs["msg"])
	w.send(to, to.p.Receive(to.local(w.now), From{Member: from.name, Instance: from.host.Instance}, msg))
}

// report prints what the nodes and the log say.
func (w *world) report(names []fsm.MemberID) {
	if len(names) == 0 {
		names = w.names
	}
	for _, name := range names {
		shown, known := w.state().Member(name)
		in := "unknown to the log"
		if known {
			in = "in the log: epoch " + itoa(shown.Epoch) + map[bool]string{true: " up", false: " down"}[shown.Up] +
				map[bool]string{true: "", false: ", unsettled"}[shown.Settled]
		}
		n := w.nodes[name]
		if n == nil || n.p == nil {
			w.printf("%s is not running; %s", name, in)
			continue
		}
		lease := "no lease"
		if left, ok := n.p.Lease(n.local(w.now)); ok {
			lease = "lease " + ms(left)
		}
		w.printf("%s epoch %d, %s; %s", name, n.p.Epoch(), lease, in)
		var peers []string
		for _, p := range n.p.Peers(n.local(w.now)) {
			text := string(p.Member) + " heard " + ago(p.Heard) + " acked " + ago(p.Acked)
			if p.Promised {
				text += " promised"
			}
			peers = append(peers, text)
		}
		w.printf("    %s", strings.Join(peers, "; "))
	}
	for slot := range w.state().Slots() {
		var out []string
		for _, e := range slot.Outstanding {
			out = append(out, string(e.Member)+"/"+itoa(e.Epoch))
		}
		slices.Sort(out)
		if slot.Token != 0 {
			w.printf("slot %s: %s, outstanding [%s]", slot.Item, slot.Owner, strings.Join(out, " "))
		}
	}
}

func itoa(e fsm.Epoch) string { return strconv.FormatUint(uint64(e), 10) }

func ago(d time.Duration) string {
	if d < 0 {
		return "never"
	}
	return ms(d)
}
