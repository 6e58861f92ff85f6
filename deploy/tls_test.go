package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/flip-ha/flip/secure"
)

// What the example's script issues is what a node takes.
func TestIssuedCertificates(t *testing.T) {
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("there is no openssl here")
	}
	dir := t.TempDir()
	for _, args := range [][]string{{dir, "n1", "10.0.0.1"}, {dir, "n2"}} { // the second with the authority of the first
		if out, err := exec.Command("examples/tls/issue", args...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
		id := args[1]
		config := secure.CertConfig{Self: secure.Identity{Name: "n1"}.Name, Files: secure.Files{
			Cert: filepath.Join(dir, id+".crt"), Key: filepath.Join(dir, id+".key"), CA: filepath.Join(dir, "ca.crt"),
		}}
		made, err := os.Stat(config.Files.Cert)
		if err != nil {
			t.Fatal(err)
		}
		seen, troubles, err := secure.Examine(config)
		if id == "n1" && (err != nil || len(troubles) > 0 || seen.Issuer != "CN=flip authority" || seen.Ends.Sub(made.ModTime()) < 360*24*time.Hour) {
			t.Errorf("%+v, %+v, %v", seen, troubles, err)
		}
		if id != "n1" && err == nil {
			t.Errorf("n1 takes the certificate of %s", id)
		}
	}
}
