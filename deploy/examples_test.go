package deploy

import (
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
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

// exampleFiles are all configurations below root.
func exampleFiles(t *testing.T, root string) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && filepath.Ext(path) == ".json" {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Fatalf("no examples in %s", root)
	}
	return files
}

var firstServer = regexp.MustCompile(`"servers"\s*:\s*\{\s*"([^"]+)"`)

// idOf is the name of the first server of a file: a file for every node says
// no id of its own.
func idOf(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	m := firstServer.FindSubmatch(data)
	if m == nil {
		t.Fatalf("%s names no server", path)
	}
	return string(m[1])
}

// parse reads one configuration as each of its nodes would.
func parse(t *testing.T, what, first string, data []byte) {
	t.Helper()
	f, err := config.Parse(what, data, config.Overrides{ID: first})
	if err != nil {
		t.Errorf("%s:\n%v", what, err)
		return
	}
	for _, note := range f.Notes {
		if note.Key == "servers" { // such as: two voters cannot fail over
			t.Errorf("%s: %s: %s", what, note.Key, note.What)
		}
	}
	for name := range f.Spec.Servers {
		if _, err := config.Parse(what, data, config.Overrides{ID: string(name)}); err != nil {
			t.Errorf("%s as %s:\n%v", what, name, err)
		}
	}
}

func TestExamplesParse(t *testing.T) {
	for _, path := range exampleFiles(t, "examples") {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		parse(t, path, idOf(t, path), data)
	}
}

// What a page shows of a configuration is one that flip takes, and what it shows
// of an example is the example.
func TestDocumentedConfigurationsParse(t *testing.T) {
	pages, err := filepath.Glob("../docs/*.md")
	if err != nil || len(pages) == 0 {
		t.Fatalf("no pages: %v", err)
	}
	n := 0
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range jsonBlock.FindAllSubmatch(text, -1) {
			m := firstServer.FindSubmatch(block[1])
			if m == nil {
				continue // a part of one
			}
			n++
			parse(t, page, string(m[1]), block[1])
		}
	}
	if n < 4 {
		t.Errorf("%d configurations in the pages", n)
	}
}

var jsonBlock = regexp.MustCompile("(?s)```json\n(.*?)```")
