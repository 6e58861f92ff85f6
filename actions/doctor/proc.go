package doctor

import (
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"time"
)

func or(text, nothing string) string {
	if text == "" {
		return nothing
	}
	return text
}

func readText(root fs.FS, name string) (string, error) {
	b, err := fs.ReadFile(root, name)
	if err != nil {
		return "", fmt.Errorf("read /%s: %w", name, unwrapPath(err))
	}
	return strings.TrimSpace(string(b)), nil
}

func readNumber(root fs.FS, name string) (int64, error) {
	text, err := readText(root, name)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read /%s: %q is no number", name, text)
	}
	return n, nil
}

// unwrapPath takes the name off an error of a file: the caller says it in full.
func unwrapPath(err error) error {
	if p, ok := err.(*fs.PathError); ok { //nolint:errorlint // only the outermost has the name that is said twice
		return p.Err
	}
	return err
}

// readQuota is how much processor time a cgroup may use in a period.
func readQuota(root fs.FS, dir string, v2 bool) (share, period time.Duration, limited bool) {
	var q, p int64
	if v2 {
		text, err := readText(root, dir+"/cpu.max")
		f := strings.Fields(text)
		if err != nil || len(f) != 2 || f[0] == "max" {
			return 0, 0, false
		}
		q, _ = strconv.ParseInt(f[0], 10, 64)
		p, _ = strconv.ParseInt(f[1], 10, 64)
	} else {
		q, _ = readNumber(root, dir+"/cpu.cfs_quota_us")
		p, _ = readNumber(root, dir+"/cpu.cfs_period_us")
	}
	return time.Duration(q) * time.Microsecond, time.Duration(p) * time.Microsecond, q > 0 && p > 0
}

// throttled is how often a cgroup has stood still for its quota.
func throttled(root fs.FS, dir string) int64 {
	text, _ := readText(root, dir+"/cpu.stat") // without it nothing is known, as if nothing was
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), "nr_throttled "); ok {
			n, _ := strconv.ParseInt(value, 10, 64)
			return n
		}
	}
	return 0
}

// readPressure is the share of the last minute in which some task waited.
func readPressure(root fs.FS, what string) (float64, error) {
	text, err := readText(root, "proc/pressure/"+what)
	if err != nil {
		return 0, err
	}
	for field := range strings.FieldsSeq(text) { // "some" is the first line
		if value, ok := strings.CutPrefix(field, "avg60="); ok {
			return strconv.ParseFloat(value, 64)
		}
	}
	return 0, fmt.Errorf("read /proc/pressure/%s: no avg60 in %q", what, text)
}
