package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/e2e/pki"
)

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
	c.eventually(30*time.Second, "flip reaches the others", func() error {
		st, err := c.status("flip")
		for _, m := range st.Members {
			if m.TCP.Code != api.FindOK && m.TCP.Code != api.FindSelf {
				err = errors.Join(err, fmt.Errorf("%s: %+v", m.Name, m.TCP))
			}
		}
		return err
	})
}
