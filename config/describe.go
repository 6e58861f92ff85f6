package config

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/flip-ha/flip/fsm"
)

// Describe is what `flip check` prints: what was understood, as aligned text.
// It never shows the key.
func Describe(f *File) string {
	var b strings.Builder
	describeNode(&b, f)
	if len(f.Spec.Servers) > 0 {
		b.WriteByte('\n')
		describeServers(&b, f.Spec)
		b.WriteByte('\n')
		describeSystems(&b, f.Spec)
	}
	if len(f.Notes) > 0 {
		b.WriteString("\nnotes\n")
		for _, n := range f.Notes {
			fmt.Fprintf(&b, "  %s\n", n.Error())
		}
	}
	return b.String()
}

// table writes rows of tab-separated cells in aligned columns.
func table(b *strings.Builder, rows [][]string) {
	w := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		line(w, strings.Join(row, "\t")+"\n")
	}
	if err := w.Flush(); err != nil { // a strings.Builder takes everything
		panic(err)
	}
}

func line(w io.Writer, s string) {
	if _, err := io.WriteString(w, s); err != nil { // as in table
		panic(err)
	}
}

func describeNode(b *strings.Builder, f *File) {
	key := "in the file"
	if f.Node.KeyFile != "" {
		key = "in " + f.Node.KeyFile
	}
	stop := "all that is held is let go of, and the others take over"
	if !f.Spec.RemoveOnFailure {
		stop = "nothing moves and nothing is let go of (remove_on_failure)"
	}
	t := f.Spec.Timing
	rows := [][]string{
		{"id", string(f.Node.ID)},
		{"data_dir", f.Node.DataDir + "/" + string(f.Node.ID)},
		{"socket", f.Node.Socket},
		{"key", key},
		{"log_level", f.Node.LogLevel},
	}
	if own := f.Node.TLS; own != nil {
		rows = append(rows, []string{"tls", describeTLS(own)})
	}
	if f.Node.Machine != "" {
		rows = append(rows, []string{"machine", f.Node.Machine})
	}
	if f.Node.Metrics != "" {
		rows = append(rows, []string{"metrics", "http://" + f.Node.Metrics + "/metrics"})
	}
	if f.Node.ExitOnStdinClose {
		rows = append(rows, []string{"stdin", "when it ends, the daemon stops in order"})
	}
	if len(f.Spec.Servers) == 0 {
		table(b, append(rows, []string{"all else", "from the cluster that it joins"}))
		return
	}
	rows = append(rows,
		[]string{"timing", fmt.Sprintf("%s: a heartbeat every %s, lease %s", t.Preset, short(t.Heartbeat), short(t.Lease))},
		[]string{"raft", fmt.Sprintf("heartbeat %s, election %s, leader lease %s", short(t.RaftHeartbeat), short(t.RaftElection), short(t.RaftLease))},
		[]string{"quorum", describeQuorum(f.Spec)},
		[]string{"on stop", stop},
	)
	table(b, rows)
}

func describeTLS(own *TLS) string {
	text := fmt.Sprintf("certificate %s, its key %s, authorities %s", own.Cert, own.Key, own.CA)
	if len(own.Operators) > 0 {
		text += "; operators " + some(own.Operators)
	}
	if own.AcceptKey {
		text += "; those that the key makes are taken too"
	}
	return text
}

func describeQuorum(s fsm.Spec) string {
	others := voting(s.Servers) - 1
	text := fmt.Sprintf("%s of %s call one down", plural(s.Quorum, "vote"), plural(others, "other voter"))
	if s.Quorum > others {
		text += ": it can never happen"
	}
	return text
}

func describeServers(b *strings.Builder, s fsm.Spec) {
	rows := [][]string{{"SERVER", "ADDRESS", "ROLE", "PRIORITY", "SYSTEMS"}}
	said := said(s.Servers)
	if said {
		rows[0] = append(rows[0], "WEIGHT", "CAPACITY", "ZONE", "TAGS")
	}
	for _, name := range slices.Sorted(maps.Keys(s.Servers)) {
		server := s.Servers[name]
		row := []string{string(name), server.Addr, server.Role.String(), priority(server), orDash(words(server.Systems))}
		if said {
			row = append(row, share(server), capacity(server), orDash(server.Zone), orDash(tagWords(server.Tags)))
		}
		rows = append(rows, row)
	}
	table(b, rows)
	b.WriteString("priority: lower is preferred; keepalived: higher\n")
}

func priority(s fsm.Server) string {
	if !s.HasPriority {
		return "-"
	}
	return strconv.Itoa(s.Priority)
}

func describeSystems(b *strings.Builder, s fsm.Spec) {
	rows := [][]string{{"SYSTEM", "TYPE", "GUARANTEE", "ALIVE", "DOWN", "START", "STOP", "DELAY", "CLEAN", "ITEMS"}}
	names := slices.Sorted(maps.Keys(s.Systems))
	for _, name := range names {
		y := s.Systems[name]
		rows = append(rows, []string{
			string(name), y.Split.String(), y.Guarantee.String(), orDash(y.Alive), orDash(y.Down),
			short(y.StartTimeout), short(y.StopTimeout), short(y.Delay), yesNo(y.CleanOnStart), strconv.Itoa(len(y.Items)),
		})
	}
	table(b, rows)
	for _, name := range names {
		y := s.Systems[name]
		switch y.Action {
		case fsm.ActionIP:
			describeIP(b, y, s.Timing)
		case fsm.ActionClient:
			describeClient(b, y)
			describeHookTakeover(b, y, s.Timing)
		default:
			fmt.Fprintf(b, "%s: config %s\n", name, y.Config)
			describeHookTakeover(b, y, s.Timing)
		}
		if y.Fence != "" {
			fmt.Fprintf(b, "%s: %s switches a lost member off before what it may hold is taken over, in %s at most\n", name, quote(y.Fence), short(y.FenceTimeout))
		}
		describePlace(b, y)
		switch {
		case y.Partitions != nil:
			fmt.Fprintf(b, "%s: %s, by %s of the key\n", name, plural(y.Partitions.Count, "partition"), y.Partitions.Hash)
		case len(y.Items) > 0:
			fmt.Fprintf(b, "%s: data %s\n", name, some(each(y.Items, itemWords)))
		}
	}
}

func words[T ~string](list []T) string { return some(plainStrings(list)) }

// some lists the first of many.
func some(list []string) string {
	const most = 10
	if len(list) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(list[:most], ", "), len(list)-most)
	}
	return strings.Join(list, ", ")
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// short writes a duration without the zero parts that String leaves behind.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
