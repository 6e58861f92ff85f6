package deploy

import (
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/flip-ha/flip/config"
)

// The sample must stay as Flip's README had it: it is what users bring along.
func TestReadmeSampleIsUntouched(t *testing.T) {
	const want = "9a4517a94d02729a6e8d2ed9330181ae4d27b93306d0100ff532c95b6682bef8"
	sum := sha256.Sum256(ReadmeSample)
	if got := hex.EncodeToString(sum[:]); got != want {
		t.Errorf("SHA-256 %s, want %s", got, want)
	}
}

func TestExamplesParse(t *testing.T) {
	n := 0
	err := filepath.WalkDir("examples", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".json" {
			return err
		}
		n++
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		f, err := config.Parse(path, data, config.Overrides{})
		if err != nil {
			t.Errorf("%s:\n%v", path, err)
			return nil
		}
		for name := range f.Spec.Servers {
			// One file serves every node.
			if _, err := config.Parse(path, data, config.Overrides{ID: string(name)}); err != nil {
				t.Errorf("%s as %s:\n%v", path, name, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if n == 0 {
		t.Error("no examples found")
	}
}
