package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/client"
)

// where is whose each key is, as something answers.
type where map[string]string

// TestLookups: whoever is asked says the same of a key; what `flip plan` foretells is what
// happens; a Router that nobody tells of it knows.
func TestLookups(t *testing.T) {
	ports := freePorts(t, "a1")
	c := newCluster(t, func(s spec) {
		servers, systems := s["servers"].(spec), s["cluster"].(spec)["system"].(spec)
		systems["ring"] = spec{
			"alive": "ip_up", "down": "ip_down", "type": "shard", "clean_on_start": false,
			"partitions": spec{"count": 16}, "replicas": 2,
		}
		for _, id := range []string{"flip", "flip1"} {
			servers[id].(spec)["systems"] = []string{"ip", "ring"}
		}
		servers["a1"] = spec{"ip": "127.0.0.1", "port": ports["a1"], "role": "agent", "systems": []string{"ring"}}
	})
	maps.Copy(c.ports, ports)
	c.start(append(slices.Clone(c.ids), "a1")...)
	c.ready(append(slices.Clone(c.ids), "a1")...)
	keys := []string{"user:42", "user:43", "order 7", "", "ünïcode", "a&b=c"}
	agreed := func(within time.Duration, what string, ask ...func() (where, error)) (all where) {
		t.Helper()
		c.eventually(within, what, func() error {
			for i, f := range ask {
				got, err := f()
				if err != nil {
					return err
				}
				if i > 0 && !maps.Equal(got, all) {
					return fmt.Errorf("one says %v, another %v", got, all)
				}
				all = got
			}
			return nil
		})
		return all
	}
	by := func(run func(args ...string) (string, int)) func() (where, error) {
		return func() (where, error) { return c.lookedUp(run, keys) }
	}
	node := func(id string) func() (where, error) {
		return by(func(args ...string) (string, int) { return c.flip(id, args...) })
	}
	r := client.NewRouter(c.client("a1"), "ring")
	c.follow(r)
	routed := func() (where, error) { return routedBy(r, keys) }
	far := by(func(args ...string) (string, int) { return c.remote(sampleKey, args...) })
	agreed(time.Minute, "all say the same", routed, node("flip"), node("flip2"), node("a1"), far)

	if out, code := c.flip("a1", "why", "ring", "3"); code != 0 || !strings.Contains(out, "ring/3 (replica 1) is ") {
		t.Errorf("flip why on an agent: exit %d\n%s", code, out)
	}
	if out, code := c.flip("flip2", "plan"); code != 0 {
		t.Errorf("at rest something is to be moved: exit %d\n%s", code, out)
	}
	foretold := c.foretell("a1", "--fail", "flip1")
	c.kill("flip1")
	c.eventually(time.Minute, "what was foretold has come", func() error {
		return c.cameTrue("flip", foretold)
	})
	agreed(time.Minute, "all say the same without flip1", routed, node("flip"), node("a1"))
	if age, known := r.Age(); !known || age > time.Minute {
		t.Errorf("the router is %v old, %t", age, known)
	}
}

// follow runs a Router until the test ends.
func (c *cluster) follow(r *client.Router) {
	ended := make(chan error, 1)
	go func() { ended <- r.Run(c.t.Context()) }()
	c.t.Cleanup(func() {
		if err := <-ended; err != nil {
			c.t.Errorf("router: %v", err)
		}
	})
	select {
	case <-r.Ready():
	case <-time.After(time.Minute):
		c.t.Fatalf("the router has heard nothing: %v", r.Err())
	}
}

// lookedUp asks the command line for keys whose primaries must hold them.
func (c *cluster) lookedUp(run func(args ...string) (string, int), keys []string) (where, error) {
	out := where{}
	for _, key := range keys {
		text, code := run("route", "--json", "--", "ring", key)
		var r api.Route
		if err := json.Unmarshal([]byte(text), &r); err != nil || code != 0 {
			return nil, fmt.Errorf("route %q: exit %d: %s", key, code, text)
		}
		out[key] = ownersOf(r.Owners)
	}
	return out, nil
}

func routedBy(r *client.Router, keys []string) (where, error) {
	out := where{}
	for _, key := range keys {
		if _, err := r.Primary(key); err != nil {
			return nil, fmt.Errorf("%q: %w", key, err)
		}
		owners, err := r.Owners(key)
		if err != nil {
			return nil, err
		}
		out[key] = ownersOf(owners)
	}
	return out, nil
}

func ownersOf(owners []api.RouteOwner) string {
	var out []string
	for _, o := range owners {
		out = append(out, fmt.Sprintf("%s at %s held %t under %d", o.Member, o.Address, o.Held, o.Token))
	}
	return strings.Join(out, ", ")
}

// foretell is who would own each slot that would be moved.
func (c *cluster) foretell(id string, args ...string) map[string]string {
	c.t.Helper()
	text, code := c.flip(id, append([]string{"plan", "--json"}, args...)...)
	var plan struct {
		Moves []struct {
			System, Item, From, To string
			Rank                   int
		}
	}
	if err := json.Unmarshal([]byte(text), &plan); err != nil || code != 10 || len(plan.Moves) == 0 {
		c.t.Fatalf("plan %v: exit %d: %s", args, code, text)
	}
	out := map[string]string{}
	for _, m := range plan.Moves {
		out[fmt.Sprintf("%s/%s/%d", m.System, m.Item, m.Rank)] = m.To
	}
	return out
}

func (c *cluster) cameTrue(id string, foretold map[string]string) error {
	cl := c.client(id)
	defer cl.Close()
	as, err := cl.Assign(c.t.Context(), "", false)
	if err != nil {
		return err
	}
	left := maps.Clone(foretold)
	for _, r := range as.Rows {
		name := fmt.Sprintf("%s/%s/%d", r.System, r.Item, r.Rank)
		if to, ok := foretold[name]; ok && to != string(r.Owner) {
			return fmt.Errorf("%s was to go to %q, it is %q's", name, to, r.Owner)
		}
		delete(left, name)
	}
	for name, to := range left {
		if to != "" {
			return fmt.Errorf("%s was to go to %s, it is not there", name, to)
		}
	}
	return nil
}
