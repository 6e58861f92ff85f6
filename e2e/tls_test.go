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

	"github.com/flip-ha/flip/api"
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

// stranger starts a node that must not be let in, and gives its words.
func (c *cluster) stranger(id string, tls spec, key string, words ...string) {
	c.t.Helper()
	file := filepath.Join(c.dir, "stranger.json")
	data, err := json.Marshal(spec{"key": key, "log_level": "debug", "tls": tls})
	if err != nil {
		c.t.Fatal(err)
	}
	if tls == nil {
		data, _ = json.Marshal(spec{"key": key, "log_level": "debug"})
	}
	if err := os.WriteFile(file, data, 0o600); err != nil {
		c.t.Fatal(err)
	}
	_ = os.RemoveAll(filepath.Join(c.dir, "d", id))
	c.startArgs(id, nil, append(c.joinTo("flip"), file)...)
	for _, w := range words {
		c.says(id, w)
	}
	_ = c.procs[id].cmd.Process.Kill() // it may have given up
	<-c.procs[id].done
}

func TestOwnCertificatesRefuse(t *testing.T) {
	c, o := newOwnCluster(t, wan)
	other := c.office("theirs")
	c.stranger("flip9", other.node("flip9"), sampleKey, "issued by", "CN=ours")
	c.stranger("flip9", o.node("flip9"), "quite another key, just as long", "has another key")
	c.stranger("flip9", nil, sampleKey, "not one that the key makes")
	// What is wrong with a node's own files ends it, with what to do.
	port := freePorts(t, "flip9")["flip9"]
	wrong := func(tls spec, words ...string) {
		t.Helper()
		c.fails("flip9", c.ownFile("flip9", tls, func(s spec) {
			wan(s)
			s["servers"].(spec)["flip9"] = spec{"ip": "127.0.0.1", "port": port}
		}), words...)
	}
	wrong(o.issue("x", pki.Leaf{DNS: []string{"flip8"}}), "is of flip8, and this node is flip9", "DNS name")
	mixed := o.node("flip9")
	mixed["key"] = o.node("flip8")["key"]
	wrong(mixed, "does not belong to the certificate of flip9", "openssl")
	gone := o.node("flip9")
	gone["ca"] = "nowhere.crt"
	wrong(gone, "read tls.ca", "nowhere.crt", "no such file")

	// One that has expired, of a member: it starts, and says so; nobody takes it.
	c.signal("flip2", syscall.SIGTERM)
	if code := c.exit("flip2", 60*time.Second); code != 0 {
		t.Fatalf("flip2 ended with %d", code)
	}
	long := time.Now().Add(-48 * time.Hour)
	expired := o.issue("flip2", pki.Leaf{DNS: []string{"flip2"}, IPs: []string{"127.0.0.1"}, From: long, Until: long.Add(time.Hour)})
	c.startWith("flip2", c.ownFile("flip2", expired, wan))
	c.statusSays("flip2", 20*time.Second, "has expired on ", "renew it")
	c.statusSays("flip", 20*time.Second, "flip2", "has expired on ")
	out, _ := c.flip("flip2", "doctor", filepath.Join(c.dir, "flip2.json"))
	if !strings.Contains(out, "certificates") || !strings.Contains(out, "has expired on ") {
		t.Errorf("the doctor says:\n%s", out)
	}
	// Renewed it is a member again, without a restart.
	o.node("flip2")
	c.ready("flip2")
	if out, _ := c.flip("flip2", "status"); strings.Contains(out, "has expired") {
		t.Errorf("status still says:\n%s", out)
	}
}

func TestOwnCertificatesOfOperators(t *testing.T) {
	c := newCluster(t, wan)
	o, other := c.office("ours"), c.office("theirs")
	for _, id := range c.ids {
		tls := o.node(id)
		tls["operators"] = []string{"alice"}
		c.startWith(id, c.ownFile(id, tls, wan))
	}
	c.ready(c.ids...)
	keyFile := filepath.Join(c.dir, "key")
	if err := os.WriteFile(keyFile, []byte(sampleKey), 0o600); err != nil {
		t.Fatal(err)
	}
	alice, bob := withCertificate(o.issue("alice", pki.Leaf{CN: "alice"})), withCertificate(o.issue("bob", pki.Leaf{CN: "bob"}))
	stranger := withCertificate(other.issue("mallory", pki.Leaf{CN: "alice"}))
	at := []string{"--address", c.addr("flip1")}
	for _, tt := range []struct {
		name string
		args []string
		code int
		says string
	}{
		{"named", append(alice, at...), 0, "flip1"},
		{"not named", append(bob, at...), 3, "does not take this certificate"},
		{"with the key too", append(append(bob, at...), "--key-file", keyFile), 0, "flip1"},
		{"another authority", append(stranger, at...), 3, "another authority"},
		{"the key alone", append(at, "--key-file", keyFile), 3, "--cert"},
		{"half", append(at, alice[:4]...), 2, "--cert, --tls-key and --ca go together"},
		{"no address", alice, 2, "goes with --address"},
		{"another's key", append(at, alice[0], alice[1], bob[2], bob[3], alice[4], alice[5]), 1, "does not belong to the certificate of alice"},
	} {
		if out, code := c.far(append(tt.args, "status")...); code != tt.code || !strings.Contains(out, tt.says) {
			t.Errorf("%s: %d\n%s", tt.name, code, out)
		}
	}
	// A change that is refused is no change that may have been done.
	if out, code := c.far(append(append(bob, at...), "maintenance", "on", "ip")...); code != 3 || !strings.Contains(out, "does not take this certificate") {
		t.Errorf("a change: %d\n%s", code, out)
	}
	if out, code := c.far(append(append(alice, at...), "maintenance", "on", "ip")...); code != 0 {
		t.Errorf("a change: %d\n%s", code, out)
	}
	c.says("flip1", `"operator":"alice"`)

	if out, code := c.far(append(append([]string{"context", "add", "ours"}, alice...), at...)...); code != 0 {
		t.Fatalf("context add: %d\n%s", code, out)
	}
	if out, code := c.far("context", "list"); code != 0 || !strings.Contains(out, "alice.crt") {
		t.Errorf("context list: %d\n%s", code, out)
	}
	if out, code := c.far("--context", "ours", "maintenance", "off", "ip"); code != 0 {
		t.Errorf("by a context: %d\n%s", code, out)
	}
	if out, code := c.far(append([]string{"--context", "ours", "status"}, stranger...)...); code != 3 {
		t.Errorf("what the command line names counts first: %d\n%s", code, out)
	}
}

// The nodes change over one after the other, and nobody loses his lease for it.
func TestChangeOverToOwnCertificates(t *testing.T) {
	c := newCluster(t, wan)
	c.start(c.ids...)
	c.ready(c.ids...)
	o := c.office("ours")
	again := func(id string, accept bool) {
		tls := o.node(id)
		tls["accept_key"] = accept
		others := map[string]int{}
		for _, other := range c.ids {
			if other != id {
				others[other] = c.lapses(other)
			}
		}
		c.signal(id, syscall.SIGTERM)
		if code := c.exit(id, 60*time.Second); code != 0 {
			t.Fatalf("%s ended with %d", id, code)
		}
		c.startWith(id, c.ownFile(id, tls, wan))
		c.ready(id)
		for other, n := range others {
			if now := c.lapses(other); now != n {
				t.Errorf("while %s changed over the lease of %s has ended", id, other)
			}
		}
	}
	for _, accept := range []bool{true, false} {
		for _, id := range c.ids {
			again(id, accept)
		}
	}
	c.becomes(60*time.Second, "flip", allActive)
	var st api.Status
	if err := json.Unmarshal([]byte(c.ok("flip", "status", "--json")), &st); err != nil {
		t.Fatal(err)
	}
	for _, m := range st.Members {
		if m.TCP.Code != api.FindOK && m.TCP.Code != api.FindSelf {
			t.Errorf("%s: %+v", m.Name, m.TCP)
		}
	}
}
