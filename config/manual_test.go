package config

import (
	"os"
	"strings"
	"testing"
	"time"
)

const manualFile = "../docs/configuration.md"

// TestManual: the page says what the code does. FLIP_UPDATE=1 writes it anew.
func TestManual(t *testing.T) {
	if os.Getenv("FLIP_UPDATE") != "" {
		if err := os.WriteFile(manualFile, []byte(Manual()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(manualFile)
	if err != nil {
		t.Fatal(err)
	}
	if string(have) != Manual() {
		t.Errorf("%s is not what the code makes: run this test with FLIP_UPDATE=1 and look at the difference", manualFile)
	}
}

// TestManualHasEveryKey: a level that is forgotten would leave its keys out.
func TestManualHasEveryKey(t *testing.T) {
	text := Manual()
	rows := strings.Count(text, "\n| `")
	if rows != len(Reference()) {
		t.Errorf("%d rows for %d keys", rows, len(Reference()))
	}
	for _, line := range strings.Split(text, "\n") {
		if strings.HasPrefix(line, "| `") && strings.Count(line, "|")-strings.Count(line, `\|`) != 6 {
			t.Errorf("a row that is no row: %s", line)
		}
	}
}

// TestManualsExample: what the page shows is a file that flip takes.
func TestManualsExample(t *testing.T) {
	_, text, _ := strings.Cut(Manual(), "```json\n")
	text, more, _ := strings.Cut(text, "```")
	_, more, _ = strings.Cut(more, "```json\n")
	mail, _, _ := strings.Cut(more, "```")
	file, err := Parse("flip.json", []byte(text), Overrides{ID: "n1"})
	if err != nil {
		t.Fatal(err)
	}
	if len(file.Notes) > 0 || len(file.Spec.Systems["web"].Items) != 2 {
		t.Errorf("%v, %+v", file.Notes, file.Spec.Systems)
	}
	text = strings.Replace(text, `"web": {`, mail+`, "web": {`, 1)
	text = strings.ReplaceAll(text, `["web"]`, `["mail", "web"]`)
	if file, err = Parse("flip.json", []byte(text), Overrides{ID: "n1"}); err != nil {
		t.Fatal(err)
	}
	if s := file.Spec.Systems["mail"]; len(file.Notes) > 0 || s.Fence == "" || s.FenceTimeout != 30*time.Second {
		t.Errorf("%v, %+v", file.Notes, s)
	}
}
