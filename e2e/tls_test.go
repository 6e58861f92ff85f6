package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/flip-ha/flip/e2e/pki"
)

// office is an authority and the directory with what it has issued.
type office struct {
	*pki.Authority
	c  *cluster
	ca string
}

func (c *cluster) office(name string) *office {
	c.t.Helper()
	a, err := pki.NewAuthority(name)
	if err != nil {
		c.t.Fatal(err)
	}
	o := &office{a, c, filepath.Join(c.dir, name+".ca.crt")}
	if err := os.WriteFile(o.ca, a.PEM(), 0o600); err != nil {
		c.t.Fatal(err)
	}
	return o
}

// issue writes a certificate and its key, in place of what was there under a name.
func (o *office) issue(name string, l pki.Leaf) spec {
	o.c.t.Helper()
	pair, err := o.Issue(l)
	if err != nil {
		o.c.t.Fatal(err)
	}
	cert, key, err := pair.Write(o.c.dir, name)
	if err != nil {
		o.c.t.Fatal(err)
	}
	return spec{"cert": cert, "key": key, "ca": o.ca}
}

// node issues what a member needs.
func (o *office) node(id string) spec {
	o.c.t.Helper()
	return o.issue(id, pki.Leaf{DNS: []string{id}, IPs: []string{"127.0.0.1"}})
}

// ownFile writes the file of one node.
func (c *cluster) ownFile(id string, tls spec, change func(spec)) string {
	c.t.Helper()
	path := filepath.Join(c.dir, id+".json")
	c.writeFile(path, func(s spec) {
		if change != nil {
			change(s)
		}
		if tls != nil {
			s["tls"] = tls
		}
	})
	return path
}

// far runs the command line against ports, with what proves that one may.
func (c *cluster) far(args ...string) (string, int) {
	c.t.Helper()
	cmd := exec.Command(binary, args...)
	cmd.Env = append(os.Environ(), "FLIP_CONTEXTS="+filepath.Join(c.dir, "contexts.json"))
	out, _ := cmd.CombinedOutput()
	return string(out), cmd.ProcessState.ExitCode()
}

func withCertificate(s spec) []string {
	return []string{"--cert", s["cert"].(string), "--tls-key", s["key"].(string), "--ca", s["ca"].(string)}
}

// lapses is how many leases have ended, as a daemon's metrics say.
func (c *cluster) lapses(id string) int {
	c.t.Helper()
	web := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", filepath.Join(c.dir, "d", id+".sock"))
	}}
	resp, err := (&http.Client{Transport: web}).Get("http://flip/metrics")
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	m := regexp.MustCompile(`(?m)^flip_lease_lapses_total (\d+)$`).FindSubmatch(body)
	if err != nil || m == nil {
		c.t.Fatalf("%s has no such metric: %v", id, err)
	}
	n, _ := strconv.Atoi(string(m[1]))
	return n
}

// epochs are those of all members: one that has changed is a lease that was lost.
func (c *cluster) epochs(of string) string {
	c.t.Helper()
	st, err := c.status(of)
	if err != nil {
		c.t.Fatal(err)
	}
	var out []string
	for _, m := range st.Members {
		out = append(out, fmt.Sprintf("%s:%d", m.Name, m.Epoch))
	}
	return strings.Join(out, " ")
}

// newOwnCluster is the sample with certificates of its own, one file for each node.
func newOwnCluster(t *testing.T, change func(spec)) (*cluster, *office) {
	t.Helper()
	c := newCluster(t, change)
	o := c.office("ours")
	for _, id := range c.ids {
		c.startWith(id, c.ownFile(id, o.node(id), change))
	}
	c.ready(c.ids...)
	return c, o
}

// wan is patient with a machine that does other things too.
func wan(s spec) {
	quick(s)
	s["timing"] = "wan"
}

func TestOwnCertificates(t *testing.T) {
	c, o := newOwnCluster(t, wan)
	c.becomes(30*time.Second, "flip", allActive)

	// Somebody goes, his item is taken over; he comes back with another data
	// directory, so as another instance: the dialler must not take him for the one he
	// was, and he is taken in anew.
	c.kill("flip1")
	c.becomes(60*time.Second, "flip", flip1Down)
	if err := os.RemoveAll(filepath.Join(c.dir, "d", "flip1")); err != nil {
		t.Fatal(err)
	}
	c.startWith("flip1", filepath.Join(c.dir, "flip1.json"))
	c.ready("flip1")
	c.becomes(60*time.Second, "flip", allActive)

	// A fourth joins, whose certificate the others have never seen.
	c.ports["flip3"] = freePorts(t, "flip3")["flip3"]
	file := filepath.Join(c.dir, "flip3.json")
	data, err := json.Marshal(spec{"key": sampleKey, "log_level": "debug", "tls": o.node("flip3")})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	c.startArgs("flip3", nil, append(c.joinTo("flip1", "flip2"), file)...)
	c.says("flip3", "waiting for `flip member add flip3 HOST:PORT` on any member")
	c.ok("flip2", "member", "add", "flip3", c.addr("flip3"), "--systems", "ip")
	c.ids = append(c.ids, "flip3")
	c.ready("flip3")
	// As an agent it asks the voters what it is asked, with its own certificate.
	c.ok("flip2", "member", "demote", "flip3")
	c.eventually(time.Minute, "an agent hands on", func() error {
		if out, code := c.flip("flip3", "member", "list", "--consistent"); code != 0 || !strings.Contains(out, "agent") {
			return fmt.Errorf("%d: %s", code, out)
		}
		return nil
	})
	c.ready("flip3")

	// All certificates are renewed while everything runs: one by the files alone, the
	// others told so.
	before, lapsed := c.epochs("flip"), 0
	for _, id := range c.ids {
		lapsed += c.lapses(id)
	}
	for i, id := range c.ids {
		o.node(id)
		if i > 0 {
			c.signal(id, syscall.SIGHUP)
		}
		c.says(id, "certificates were read again")
	}
	if out, code := c.far(append(withCertificate(o.issue("late", pki.Leaf{CN: "nobody"})), "--address", c.addr("flip"), "status")...); code != 3 || !strings.Contains(out, "does not take this certificate") {
		t.Errorf("somebody with a certificate of the authority: %d\n%s", code, out)
	}
	if after := c.epochs("flip"); after != before {
		t.Errorf("leases were lost: %s, then %s", before, after)
	}
	for _, id := range c.ids {
		lapsed -= c.lapses(id)
	}
	if lapsed != 0 {
		t.Errorf("%d leases have ended", -lapsed)
	}
	// The key is another matter, and is rotated behind them.
	c.ok("flip1", "key", "rotate", "--wait", "1m")
	if after := c.epochs("flip"); after != before {
		t.Errorf("leases were lost: %s, then %s", before, after)
	}
	// New connections work as well: the leader goes.
	st, err := c.status("flip")
	if err != nil {
		t.Fatal(err)
	}
	leader := string(st.Cluster.Leader)
	c.signal(leader, syscall.SIGTERM)
	if code := c.exit(leader, 60*time.Second); code != 0 {
		t.Fatalf("%s ended with %d", leader, code)
	}
	c.startWith(leader, filepath.Join(c.dir, leader+".json"))
	c.ready(leader)
	for _, id := range c.ids {
		if log := c.log(id); strings.Contains(log, `"reason":"certificate"`) && id != "flip" {
			t.Errorf("%s has refused a member's certificate:\n%s", id, tail([]byte(log), 10))
		}
	}
}
