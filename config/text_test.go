package config

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite what is wanted in testdata")

// TestTexts runs each file of testdata: a line of prose, the configuration, and
// what Parse must say of it: its problems, or else the description.
func TestTexts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) < 50 {
		t.Fatalf("%d files: %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			text, want, ok := strings.Cut(string(data), "-- want --\n")
			if !ok || strings.HasPrefix(text, "-- ") {
				t.Fatal("a text has a line of prose and a part named want")
			}
			got := outcome(t, text)
			if got == want {
				return
			}
			if !*update {
				t.Fatalf("got\n%s\nwant\n%s", got, want)
			}
			if err := os.WriteFile(file, []byte(text+"-- want --\n"+got), 0o644); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// outcome parses the configuration of a text with its arguments.
func outcome(t *testing.T, text string) string {
	head, data, ok := strings.Cut(text, "-- flip.json --\n")
	if !ok {
		t.Fatal("the text has no part named flip.json")
	}
	over, path := Overrides{}, "flip.json"
	_, args, _ := strings.Cut(head, "-- args --\n")
	for _, arg := range strings.Fields(args) {
		switch name, value, _ := strings.Cut(arg, "="); name {
		case "id":
			over.ID = value
		case "hostname":
			over.Hostname = value
		case "path":
			path = value
		default:
			t.Fatalf("unknown argument %q", arg)
		}
	}
	file, err := Parse(path, []byte(data), over)
	if err == nil {
		sound(t, []byte(data), file, nil)
		return Describe(file)
	}
	var problems Problems
	if !errors.As(err, &problems) || file != nil {
		t.Fatalf("%T and %v", err, file)
	}
	return err.Error() + "\n"
}
