package metrics

import (
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/rs/zerolog"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
)

type fakeSource struct{ st api.Status }

func (f *fakeSource) Status() api.Status { return f.st }

// full is a status in which every field that can be absent is there.
func full() api.Status {
	held, unplaced := 6, 7
	heard, rtt, loss, from := int64(25), int64(350), int64(12), int64(7)
	return api.Status{
		Stamp: api.Stamp{Index: 77, AgeMS: 40, Leader: "n1"},
		Node: api.Node{
			ID: "n1", Instance: "i1", Version: "1.0", Wire: [2]uint16{1, 2}, PID: 5, UptimeMS: 9, Phase: "running",
			Waiting: []string{"its first lease"}, Epoch: 12, Lease: api.Lease{Running: true, LeftMS: 260},
			Drops:    []api.Drop{{Peer: "n2", Reason: "replayed", Count: 3}, {Reason: "replayed", Count: 1}, {Peer: "n2", Reason: "replayed", Count: 2}},
			Gate:     api.Gate{State: api.GateOpen, Owned: true, Addrs: 4, RenewalUS: 24},
			Guard:    api.Guard{State: api.GuardRunning, PID: 6, Restarts: 2},
			Withheld: []api.Withheld{{System: "one", Item: "x", Fails: 3, Error: "exit status 1"}},
			Addresses: []api.Address{
				{System: "ip", Item: "a", Interface: "eth0", Addresses: []string{"10.0.0.5/24"}, Gated: true},
				{System: "ip", Item: "b", Interface: "eth0", Addresses: []string{"10.0.0.6/24"}, Gated: true, Stranger: "02:00:00:00:00:01"},
			},
			DataDir: "/var/lib/flip/\xff", File: "/etc/flip/flip.json",
		},
		Cluster: api.Cluster{
			ID: "c1", SpecVersion: 8, Leader: "n1", LeaderAddr: "192.0.2.1:2200", Voters: []fsm.VoterID{"n1/i1", "n2/i2", "n3/i3"},
			Quorum: api.Quorum{Votes: 2, Others: 2}, Failover: api.Failover{Possible: true},
			Timing:      api.Timing{Preset: "lan", HeartbeatMS: 50, TTLMS: 300, RaftHeartbeatMS: 100, RaftElectionMS: 100},
			Maintenance: []api.Maintenance{{System: "ip"}},
		},
		Members: []api.Member{
			{Name: "n1", Address: "192.0.2.1:2200", Role: "voter", Voter: true, State: api.MemberUp, Epoch: 12, TCP: api.Finding{Code: api.FindSelf}, UDP: api.Finding{Code: api.FindSelf}},
			{Name: "n2", Address: "192.0.2.2:2200", Role: "voter", Voter: true, State: api.MemberDown, HeardMS: &heard, RTTUS: &rtt, LossPermille: &loss, LossFromPermille: &from, TCP: api.Finding{Code: api.FindRefused}},
		},
		Systems:     []api.System{{Name: "ip", Type: "shard", Action: "client", Claimed: []fsm.MemberID{"n1"}, Guarantee: "at-most-one", Servers: []fsm.MemberID{"n1", "n2"}, Items: 4, Owned: 3, Acquired: 2, Outstanding: 1, Unheld: 2, Replicas: 2, Missing: 5, Braked: true, BrakedItems: 3, Held: &held, Unplaced: &unplaced, Maintenance: true, Takeover: &api.Takeover{MS: 4000, SmallestSafeMS: 3850}}},
		Failures:    []api.Failure{{System: "ip", Item: "a", Member: "n2"}, {System: "ip", Item: "b", Member: "n2"}},
		Differences: []string{"one"},
		Brakes:      []api.Brake{{System: "ip"}},
		Held:        []api.HeldMove{{System: "ip"}},
		Unplaced:    []api.Unplaced{{System: "ip"}},
		Alarms:      []api.Alarm{{Severity: api.Critical}, {Severity: api.Note}, {Severity: api.Note}},
	}
}

func newExporter(t *testing.T, st api.Status) *Exporter {
	t.Helper()
	e := New(&fakeSource{st}, zerolog.New(zerolog.NewTestWriter(t)))
	e.WatchAddresses(func() Addresses { return Addresses{Held: 3, Repaired: 2, Announced: 40, Told: 7, Strangers: 1} })
	e.WatchGate(func() (Gate, bool) {
		return Gate{Owned: true, Open: true, Addresses: 4, Renewals: 90, Refused: 2, Fused: 1, Repairs: 2, Worst: 3 * time.Millisecond}, true
	})
	return e
}

func scrape(t *testing.T, e *Exporter, method string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	e.ServeHTTP(w, httptest.NewRequest(method, "/metrics", nil))
	return w.Code, w.Body.String()
}

func TestScrapeHasWhatStatusShows(t *testing.T) {
	e := newExporter(t, full())
	e.ObserveStep(StepAcquire, 3*time.Millisecond)
	e.ObserveStep("unheard of", time.Second)
	e.ObserveHeartbeatGap(55 * time.Millisecond)
	e.ObserveLeaseLeft(250 * time.Millisecond)
	e.CountLapse()
	e.CountLateBeat()
	e.ObserveDiskSync(120 * time.Microsecond)
	e.ObserveGateRenewal(24 * time.Microsecond)
	e.ObservePlan(600 * time.Microsecond)
	code, body := scrape(t, e, http.MethodGet)
	if code != http.StatusOK {
		t.Fatalf("%d: %s", code, body)
	}
	for _, line := range []string{
		`flip_ready 0`,
		`flip_system_copies_missing{system="ip"} 5`,
		`flip_system_braked{system="ip"} 1`,
		`flip_system_items_braked{system="ip"} 3`,
		`flip_system_programs{system="ip"} 1`,
		`flip_system_moves_held{system="ip"} 6`,
		`flip_system_items_unplaced{system="ip"} 7`,
		`flip_plan_seconds_bucket{le="0.0008"} 1`,
		`flip_waiting_reasons 1`,
		`flip_node_info{data_dir="/var/lib/flip/` + "\uFFFD" + `",file="/etc/flip/flip.json",id="n1",instance="i1",version="1.0",wire="1-2"} 1`,
		`flip_epoch 12`,
		`flip_lease_running 1`,
		`flip_lease_left_seconds 0.26`,
		`flip_drops_total{peer="n2",reason="replayed"} 5`,
		`flip_drops_total{peer="",reason="replayed"} 1`,
		`flip_log_applied_index 77`,
		`flip_log_age_seconds 0.04`,
		`flip_has_leader 1`,
		`flip_is_leader 1`,
		`flip_voters 3`,
		`flip_failover_possible 1`,
		`flip_lease_duration_seconds 0.3`,
		`flip_member_state{member="n2",state="down"} 1`,
		`flip_member_state{member="n2",state="up"} 0`,
		`flip_member_heard_seconds{member="n2"} 0.025`,
		`flip_peer_finding{finding="refused",member="n2",protocol="tcp"} 1`,
		`flip_peer_finding{finding="unknown",member="n2",protocol="udp"} 1`,
		`flip_system_items_unheld{system="ip"} 2`,
		`flip_gate_state{state="open"} 1`,
		`flip_gate_state{state="none"} 0`,
		`flip_gate_renewal_last_seconds 2.4e-05`,
		`flip_address_items{gated="true",interface="eth0",system="ip"} 2`,
		`flip_address_items_disputed{system="ip"} 1`,
		`flip_guard_up 1`,
		`flip_guard_restarts_total 2`,
		`flip_items_withheld{system="one"} 1`,
		`flip_peer_rtt_seconds{member="n2"} 0.00035`,
		`flip_peer_loss_ratio{direction="to",member="n2"} 0.012`,
		`flip_peer_loss_ratio{direction="from",member="n2"} 0.007`,
		`flip_system_maintenance{system="ip"} 1`,
		`flip_system_takeover_after_seconds{system="ip"} 4`,
		`flip_system_takeover_safe_seconds{system="ip"} 3.85`,
		`flip_late_beats_total 1`,
		`flip_gate_refusals_total 2`,
		`flip_gate_fuse_refusals_total 1`,
		`flip_failures{member="n2",system="ip"} 2`,
		`flip_alarms{severity="critical"} 1`,
		`flip_alarms{severity="warning"} 0`,
		`flip_alarms{severity="note"} 2`,
		`flip_failover_step_seconds_count{step="acquire"} 1`,
		`flip_failover_step_seconds_count{step="detect"} 0`,
		`flip_heartbeat_gap_seconds_count 1`,
		`flip_lease_left_at_renewal_seconds_sum 0.25`,
		`flip_lease_lapses_total 1`,
		`flip_disk_sync_seconds_bucket{le="0.0002"} 1`,
		`flip_gate_renewal_seconds_bucket{le="4e-05"} 1`,
		`flip_gate_renewal_worst_seconds 0.003`,
		`flip_addresses 3`,
		`flip_address_unicasts_total 7`,
	} {
		if !strings.Contains(body, "\n"+line+"\n") {
			t.Errorf("no line %s", line)
		}
	}
	if strings.Contains(body, `member="n1",protocol=`) {
		t.Error("a finding about oneself")
	}
}

// What is not there is absent, and not 0, which would read as a value.
func TestScrapeLeavesOutWhatIsNotThere(t *testing.T) {
	e := New(&fakeSource{api.Status{Stamp: api.Stamp{AgeMS: -1}, Members: []api.Member{{Name: "n2"}}, Systems: []api.System{{Name: "s"}}, Node: api.Node{Guard: api.Guard{State: api.GuardNotNeeded}}}}, zerolog.Nop())
	_, body := scrape(t, e, http.MethodGet)
	for _, name := range []string{"flip_log_age_seconds", "flip_member_heard_seconds", "flip_addresses", "flip_gate_open", "flip_gate_renewal_last_seconds", "flip_guard_up", "flip_guard_restarts_total", "flip_peer_rtt_seconds", "flip_peer_loss_ratio", "flip_system_takeover_after_seconds", "flip_system_moves_held", "flip_system_items_unplaced"} {
		if strings.Contains(body, "\n"+name) {
			t.Errorf("%s is there", name)
		}
	}
	e.WatchGate(func() (Gate, bool) { return Gate{Open: true}, false })
	_, body = scrape(t, e, http.MethodGet)
	if strings.Contains(body, "flip_gate_open") {
		t.Error("a host without a gate has metrics of one")
	}
}

func TestMetricsAreForReading(t *testing.T) {
	if code, _ := scrape(t, newExporter(t, full()), http.MethodPost); code != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", code)
	}
}

func TestNamesFollowTheConventions(t *testing.T) {
	problems, err := testutil.GatherAndLint(newExporter(t, full()).registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	bad, err := promlint.New(strings.NewReader("# HELP flip_x_milliseconds x\n# TYPE flip_x_milliseconds counter\nflip_x_milliseconds 1\n")).Lint()
	if err != nil || len(bad) == 0 {
		t.Errorf("the linter finds nothing wrong with a bad name: %v", err)
	}
}

// notMeasured are the parts of a status that are words for people, are in
// metrics of the process, or are counted only.
var notMeasured = []string{
	"leader", "node.pid", "node.uptime_ms", // flip_cluster_info, process_start_time_seconds
	"node.phase", "node.waiting", "node.gate.why",
	"node.gate.owned", "node.gate.addrs", "node.gate.renewal_worst_us", "node.gate.refused", "node.gate.protection", // flip_gate_*: from the gate itself
	"node.guard.pid", "node.guard.why", "node.withheld.item", "node.withheld.rank", "node.withheld.fails", "node.withheld.error",
	"cluster.maintenance",                           // each system has its own
	"systems.takeover_after.words", "systems.fence", // of the configuration
	"node.addresses.item", "node.addresses.addresses", "node.addresses.stranger",
	"node.addresses.told", "node.addresses.announced", "node.addresses.repairs", // summed, and counted since the start
	"node.gate", "node.addresses", // sampled: flip_gate_*, flip_address_*
	"members.gate", "systems.action", // of the log and of the configuration; without a gate there is an alarm
	"cluster.quorum.words", "cluster.failover.why",
	"members.tcp.detail", "members.udp.detail",
	"failures.item", "failures.rank", "failures.token", "failures.error",
	"alarms.what", "alarms.do", "alarms.node",
	"brakes", "held", "unplaced", // each system has a number of its own
	"node.informant", // who it is; without one there is no leader either
}

// Each field of a status changes what a scrape answers, or is on the list above.
func TestEveryFieldOfStatusIsMeasured(t *testing.T) {
	_, before := scrape(t, newExporter(t, full()), http.MethodGet)
	before = ours(before)
	base := full()
	var walk func(v reflect.Value, path string)
	walk = func(v reflect.Value, path string) {
		for v.Kind() == reflect.Pointer {
			v = v.Elem()
		}
		switch v.Kind() {
		case reflect.Struct:
			for i := range v.NumField() {
				f := v.Type().Field(i)
				tag, _, _ := strings.Cut(f.Tag.Get("json"), ",")
				next := strings.TrimPrefix(path+"."+tag, ".")
				if f.Anonymous {
					next = path
				}
				if !slices.Contains(notMeasured, next) {
					walk(v.Field(i), next)
				}
			}
			return
		case reflect.Slice:
			if v.Len() == 0 {
				t.Errorf("%s is empty in the sample: put something there", path)
				return
			}
			if v.Index(0).Kind() == reflect.Struct {
				walk(v.Index(v.Len()-1), path)
				return
			}
		default:
		}
		kept := reflect.New(v.Type()).Elem()
		kept.Set(v)
		change(v)
		if _, after := scrape(t, newExporter(t, base), http.MethodGet); ours(after) == before {
			t.Errorf("%s is in no metric: add one, or put it on the list of what is not measured", path)
		}
		v.Set(kept)
	}
	walk(reflect.ValueOf(&base).Elem(), "")
}

func change(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(v.String() + "x")
	case reflect.Bool:
		v.SetBool(!v.Bool())
	case reflect.Int, reflect.Int64:
		v.SetInt(v.Int() + 1)
	case reflect.Uint16, reflect.Uint64:
		v.SetUint(v.Uint() + 1)
	case reflect.Slice:
		v.Set(reflect.Append(v, reflect.Zero(v.Type().Elem())))
	case reflect.Array:
		change(v.Index(0))
	default:
		panic("no way to change a " + v.Kind().String())
	}
}

// ours are the lines of a scrape that come from the status.
func ours(body string) string {
	var out []string
	for line := range strings.Lines(body) {
		if strings.HasPrefix(line, "flip_") {
			out = append(out, line)
		}
	}
	return strings.Join(out, "")
}

func TestDocumentation(t *testing.T) {
	const file = "../../docs/metrics.md"
	want := document(t, newExporter(t, full()))
	got, err := os.ReadFile(file)
	if err != nil && !*update {
		t.Fatal(err)
	}
	head, _, _ := strings.Cut(string(got), begin)
	_, tail, _ := strings.Cut(string(got), end)
	now := head + begin + want + end + tail
	if *update {
		if err := os.WriteFile(file, []byte(now), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if now != string(got) {
		t.Errorf("%s differs from the metrics: go test ./api/metrics -run TestDocumentation -update; it should have\n%s", file, want)
	}
}
