package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

func (c *cluster) tracePath() string { return filepath.Join(c.dir, "trace") }

func (c *cluster) rawTrace() []byte {
	data, _ := os.ReadFile(c.tracePath())
	return data
}

// line is one line of the trace.
type line struct {
	at         time.Time
	member     string
	verb, item string
}

func (c *cluster) trace() []line {
	c.t.Helper()
	var out []line
	for _, text := range strings.Split(strings.TrimSpace(string(c.rawTrace())), "\n") {
		f := strings.Fields(text)
		if len(f) < 5 {
			continue
		}
		ns, err := strconv.ParseInt(f[0], 10, 64)
		if err != nil {
			continue // a line that is being written
		}
		out = append(out, line{at: time.Unix(0, ns), member: f[1], verb: f[2], item: f[3]})
	}
	return out
}

// table is who holds what by the trace. What a hook has done outlives the daemon that
// started it, and the next one on that machine goes on holding it without a hook; it
// does not count while no daemon runs there.
func (c *cluster) table() string {
	runs := map[string]bool{}
	for id, p := range c.procs {
		select {
		case <-p.done:
		default:
			runs[id] = true
		}
	}
	held := map[string][]string{}
	for _, l := range c.trace() {
		have := slices.DeleteFunc(held[l.member], func(item string) bool { return item == l.item })
		if l.verb == "up" && runs[l.member] {
			have = append(have, l.item)
		}
		slices.Sort(have)
		held[l.member] = have
	}
	var cells []string
	for _, id := range c.ids {
		cells = append(cells, id+": "+strings.Join(held[id], " "))
	}
	return strings.Join(cells, " | ")
}

// assigned is who owns what by the API of id, acquired slots only.
func (c *cluster) assigned(id string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	cl := c.client(id)
	defer cl.Close()
	as, err := cl.Assign(ctx, "", false)
	if err != nil {
		return "", err
	}
	held := map[string][]string{}
	for _, r := range as.Rows {
		if !r.Held() {
			return "", fmt.Errorf("%s is %s", r.Item, r.State)
		}
		held[string(r.Owner)] = append(held[string(r.Owner)], string(r.Item))
	}
	var cells []string
	for _, id := range c.ids {
		slices.Sort(held[id])
		cells = append(cells, id+": "+strings.Join(held[id], " "))
	}
	return strings.Join(cells, " | "), nil
}

// becomes waits until trace and API both show the table.
func (c *cluster) becomes(limit time.Duration, ask, want string) {
	c.t.Helper()
	c.eventually(limit, "the table "+want, func() error {
		got, err := c.assigned(ask)
		if err != nil {
			return err
		}
		if trace := c.table(); got != want || trace != want {
			return fmt.Errorf("the API says %q, the trace %q", got, trace)
		}
		return nil
	})
}

// ready waits until every id could decide about the loss of another one: its
// lease runs, it votes, and a failover is possible.
func (c *cluster) ready(ids ...string) {
	c.t.Helper()
	for _, id := range ids {
		c.eventually(30*time.Second, id+" ready", func() error {
			st, err := c.status(id)
			if err != nil {
				return err
			}
			if !st.Node.Ready || !st.Node.Lease.Running || st.Cluster.Leader == "" {
				return fmt.Errorf("ready %v, leader %q, waiting for %q", st.Node.Ready, st.Cluster.Leader, st.Node.Waiting)
			}
			return nil
		})
	}
}

// The tables of Flip's README.
const (
	allActive = "flip: 192.168.0.2 | flip1: 192.168.0.1 | flip2: "
	flip1Down = "flip: 192.168.0.1 192.168.0.2 | flip1:  | flip2: "
)
