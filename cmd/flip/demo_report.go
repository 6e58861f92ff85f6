package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/client"
)

// pivot is one row of the README's table: what stands below each node.
type pivot map[string]string

func (v pivot) equal(w pivot) bool {
	return !slices.ContainsFunc(demoNodes, func(n string) bool { return v[n] != w[n] })
}

// What the README's tables say, x for a node that is down.
var (
	allActive = pivot{"flip": "192.168.0.2", "flip1": "192.168.0.1", "flip2": "-"}
	flip1Down = pivot{"flip": "192.168.0.1, 192.168.0.2", "flip1": "x", "flip2": "-"}
)

// sight is one look at the cluster from both sides.
type sight struct {
	Situation string `json:"situation"`
	Expected  pivot  `json:"expected"`
	Traces    pivot  `json:"traces"`
	API       pivot  `json:"api"`
	OK        bool   `json:"ok"`
}

// figures is what `flip demo --json` prints.
type figures struct {
	OK         bool    `json:"ok"`
	Timing     string  `json:"timing"`
	Ports      []int   `json:"ports"`
	FoundingMS int64   `json:"founding_ms"` // from the start of the three to all acquired
	Killed     string  `json:"killed"`
	TakenBy    string  `json:"taken_by"`
	TakeoverMS float64 `json:"takeover_ms"` // from the signal to the new hook's end
	AimMS      int64   `json:"aim_ms"`
	FailbackMS int64   `json:"failback_ms"` // from its start to all as before
	Tables     []sight `json:"tables"`
	Dir        string  `json:"dir,omitempty"` // kept
	PIDs       []int   `json:"pids,omitempty"`
}

// lookTraces is who holds what as the hooks wrote it.
func (d *demo) lookTraces() (pivot, error) {
	lines, err := d.trace()
	if err != nil {
		return nil, err
	}
	held, out := holdings(lines, d.running()), pivot{}
	for _, n := range demoNodes {
		state := api.MemberUp
		if d.procs[n] == nil {
			state = api.MemberDown
		}
		out[n] = cell(held[n], state)
	}
	return out, nil
}

// running are the nodes that have a process.
func (d *demo) running() map[string]bool {
	runs := map[string]bool{}
	for id := range d.procs {
		runs[id] = true
	}
	return runs
}

func (d *demo) traceFile() string { return filepath.Join(d.dir, "trace") }

func (d *demo) trace() ([]traceLine, error) {
	data, err := os.ReadFile(d.traceFile())
	if err != nil {
		return nil, fmt.Errorf("read trace: %w", err)
	}
	return parseTrace(string(data))
}

// unheard names an item that the API says is held, but of which the holder's hooks
// wrote otherwise, or nothing: it is reported only after the hook has ended, so
// there is nothing to wait for.
func (d *demo) unheard(expected pivot) error {
	lines, err := d.trace()
	if err != nil {
		return err
	}
	held := holdings(lines, d.running())
	for id := range d.procs {
		for item := range strings.SplitSeq(expected[id], ", ") {
			if item != "-" && !slices.Contains(held[id], item) {
				return fmt.Errorf("%s says it holds %s, but %s did not write so", id, item, hookUp)
			}
		}
	}
	return nil
}

// lookAPI is who holds what as every node that runs says; when two disagree it
// is an answer unlike the one expected, if there is one.
func (d *demo) lookAPI(ctx context.Context, expected pivot) pivot {
	out := pivot{}
	for _, n := range demoNodes {
		if d.procs[n] == nil {
			continue
		}
		if out = d.askNode(ctx, n); !out.equal(expected) {
			return out
		}
	}
	return out
}

func (d *demo) askNode(ctx context.Context, id string) pivot {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	cl := client.New(filepath.Join(d.dir, id+socketSuffix))
	defer cl.Close()
	as, err := cl.Assign(ctx, "", false)
	if err != nil {
		return pivot{id: "(" + err.Error() + ")"}
	}
	held, out := map[string][]string{}, pivot{}
	for _, r := range as.Rows {
		name := string(r.Item)
		if !r.Held() {
			name += " (" + r.State + ")"
		}
		held[string(r.Owner)] = append(held[string(r.Owner)], name)
	}
	for _, m := range as.Members {
		out[string(m.Name)] = cell(held[string(m.Name)], m.State)
	}
	return out
}

func (d *demo) status(ctx context.Context, id string) (api.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	cl := client.New(filepath.Join(d.dir, id+socketSuffix))
	defer cl.Close()
	return cl.Status(ctx, false)
}

func (d *demo) say(format string, args ...any) {
	_, _ = fmt.Fprintf(d.words, format+"\n", args...)
}

func (d *demo) show(s sight) {
	t := &table{}
	t.add(bold, slices.Concat([]string{"   " + s.Situation}, demoNodes)...)
	for _, row := range []struct {
		name string
		v    pivot
	}{{"the hooks' trace", s.Traces}, {"flip's API", s.API}, {"must be", s.Expected}} {
		cells := []string{"   " + row.name}
		for _, n := range demoNodes {
			cells = append(cells, or(row.v[n], "-"))
		}
		colour := plain
		if !row.v.equal(s.Expected) {
			colour = red
		}
		t.add(colour, cells...)
	}
	t.write(d.words, d.paint)
	d.say("")
}

// intro says what is about to be seen.
func (d *demo) intro(moved bool) {
	d.say("Three flip nodes on this machine, from the sample of Flip's README:")
	what := []string{"serves the system ip", "serves the system ip too, with priority 1: preferred", "serves nothing: it only votes"}
	for i, n := range demoNodes {
		d.say("   %-6s 127.0.0.1:%d  %s", n, d.ports[i], what[i])
	}
	if moved {
		d.say("   (a port of 2200 to 2202 is in use: these are free ones)")
	}
	d.say("ip is two addresses, each to be held by one node. Nothing is plumbed here: the hooks")
	d.say("ip_up and ip_down write a line to a trace, and the tables below are read from it.")
	if d.opts.timing == timingLAN {
		d.say("The sample's timing keys are removed: flip's default, lan, finds a failure in 0.3 s.")
	} else {
		d.say("The sample's own timing finds a failure in 1.5 s; --timing lan in 0.3 s.")
	}
	d.say("")
}

// kept says how to look at what is left running.
func (d *demo) kept() {
	var pids []string
	for _, n := range demoNodes {
		if p := d.procs[n]; p != nil && p.alive() {
			pids = append(pids, fmt.Sprint(p.pid))
			d.figures.PIDs = append(d.figures.PIDs, p.pid)
		}
	}
	d.figures.Dir = d.dir
	d.say("All is left running. To look at it:")
	d.say("   flip --dir %s --id flip status", d.dir)
	d.say("   flip --dir %s --id flip assign --by-member", d.dir)
	d.say("   tail -f %s      what the hooks do; NODE.log beside it: what flip says", d.traceFile())
	d.say("To end it:")
	d.say("   kill -9 %s; rm -r %s", strings.Join(pids, " "), d.dir)
}

func (d *demo) failed() {
	for _, n := range demoNodes {
		d.say("-- the end of %s's log:\n%s", n, d.tail(n))
	}
}
