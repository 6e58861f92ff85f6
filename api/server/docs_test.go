package server

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/flip-ha/flip/api"
)

// apiPage is docs/api.md.
func apiPage(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile("../../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestApiPageNamesWhatThereIs(t *testing.T) {
	page, c := apiPage(t), readContract(t)
	for path := range c.Paths {
		if !strings.Contains(page, path) {
			t.Errorf("docs/api.md does not mention %s: add an example with curl", path)
		}
	}
	for _, m := range regexp.MustCompile(`http://flip(/[a-z0-9/._-]*)`).FindAllStringSubmatch(page, -1) {
		if c.Paths[m[1]] == nil {
			t.Errorf("docs/api.md asks for %s, which the document does not have", m[1])
		}
	}
	table := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| (\\d+) \\|").FindAllStringSubmatch(page, -1) {
		table[m[1]] = m[2]
	}
	for _, ops := range c.Paths {
		for _, op := range ops {
			for status, reply := range op.Responses {
				for _, m := range regexp.MustCompile("`([a-z_]+)`").FindAllStringSubmatch(reply.Description, -1) {
					if table[m[1]] != status {
						t.Errorf("docs/api.md gives %s the status %q, it is %s", m[1], table[m[1]], status)
					}
				}
			}
		}
	}
}

// The examples are run as they stand, but for the socket; what they ask for may not
// be there, but they must be understood.
func TestApiPageExamplesRun(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("no curl here: the examples of docs/api.md are not run")
	}
	const curlTimedOut = 28
	c := readContract(t)
	l, err := ListenUnix(filepath.Join(t.TempDir(), "n1.sock"))
	if err != nil {
		t.Fatal(err)
	}
	run(t, NewLocal(whole(broken(t))), l)
	n := 0
	for _, block := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(apiPage(t), -1) {
		for command := range strings.SplitSeq(strings.ReplaceAll(block[1], "\\\n", ""), "\n") {
			if !strings.HasPrefix(command, "curl ") {
				continue
			}
			n++
			command, filter, piped := strings.Cut(strings.ReplaceAll(command, "/run/flip/n1.sock", l.Addr().String()), " | ")
			if _, err := exec.LookPath("jq"); piped && err == nil {
				command += " | " + filter
			}
			patience := "curl -sS --max-time 60 "
			path, _, _ := strings.Cut(regexp.MustCompile(`http://flip(/[a-z0-9/._?-]*)`).FindStringSubmatch(command)[1], "?")
			endless := false
			for _, op := range c.Paths[path] {
				_, streams := op.Responses["200"].Content["application/x-ndjson"]
				endless = endless || streams
			}
			if endless {
				patience = "curl -sS --max-time 1 "
			}
			out, err := exec.CommandContext(t.Context(), "bash", "-o", "pipefail", "-c", strings.Replace(command, "curl ", patience, 1)).Output()
			var exit *exec.ExitError
			if endless && errors.As(err, &exit) && exit.ExitCode() == curlTimedOut {
				err = nil
			}
			answer := string(out)
			fine := !strings.HasPrefix(answer, `{"code"`) || strings.Contains(answer, `"`+api.CodeNotFound+`"`) && strings.Contains(command, `"db"`)
			if err != nil || answer == "" && !piped || !fine {
				t.Errorf("%s: %v: %.300s", command, err, answer)
			}
		}
	}
	if n < 10 {
		t.Errorf("docs/api.md has only %d examples", n)
	}
}
