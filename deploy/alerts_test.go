package deploy

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

var (
	metricName = regexp.MustCompile(`\bflip_[a-z_]+`)
	alertName  = regexp.MustCompile(`(?m)^      - alert: (\w+)$`)
)

// An alert on a metric that does not exist never fires, and promtool cannot know.
func TestAlertsAreOnMetricsThatExist(t *testing.T) {
	rules, err := os.ReadFile("alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	names := metricName.FindAllString(string(rules), -1)
	if len(names) < 15 {
		t.Errorf("the rules name %d metrics", len(names))
	}
	for _, name := range names {
		if base := strings.TrimSuffix(name, "_bucket"); !strings.Contains(string(page), "| `"+base+"` |") {
			t.Errorf("an alert is on %s, which docs/metrics.md does not have", base)
		}
	}
}

// Each alert is seen to fire, by `make alerts`.
func TestAlertsAreTested(t *testing.T) {
	rules, err := os.ReadFile("alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	tests, err := os.ReadFile("alerts_test.yml")
	if err != nil {
		t.Fatal(err)
	}
	alerts := alertName.FindAllStringSubmatch(string(rules), -1)
	if len(alerts) < 10 {
		t.Errorf("%d alerts found", len(alerts))
	}
	for _, m := range alerts {
		if !strings.Contains(string(tests), `{labels: '{alertname="`+m[1]+`"`) {
			t.Errorf("no test has %s fire", m[1])
		}
	}
}
