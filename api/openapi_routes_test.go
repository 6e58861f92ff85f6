package api

import (
	"net/http"

	"github.com/flip-ha/flip/fsm"
)

// route is one path of the unix socket, as the document shows it.
type route struct {
	method, path string
	name         string // the document's operationId: one word or two, for generated clients
	summary      string // one line
	text         string // what the summary leaves out
	params       []parameter
	body         any         // a value of the type that is sent; nil: nothing is
	answer       any         // a value of the type that is answered; nil: text
	kind         string      // of an answer that is no JSON; "": text
	stream       bool        // of such values, one a line, until one side goes
	also         map[int]any // statuses above 299 with an answer that is no Error
	fails        []string    // the codes of its errors
}

// parameter is one of a query.
type parameter struct {
	name, text string
	kind       any // a value of its type; nil: its presence is what counts
}

// What can go wrong anywhere, where the leader is asked, and where something is
// changed.
var (
	always  = []string{CodeInternal, CodeUnavailable, CodeTimeout}
	asking  = with(always, CodeNoLeader)
	changes = with(asking, CodeBadRequest, CodeTooLarge, CodeRefused, CodeUncertain)
)

var consistent = parameter{Consistent, "Ask the leader first, so that the answer holds everything agreed on before the question. Without it the answer is this node's own, as old as its stamp says.", nil}

// routes is all that the unix socket answers. Who adds a route to the server adds
// it here, runs `go test ./api -run TestOpenAPI -update` and commits the file.
var routes = []route{
	{
		method: http.MethodGet, path: PathStatus, name: "status", summary: "How this node and its cluster are, what is wrong and what to do about it",
		params: []parameter{consistent}, answer: Status{}, fails: asking,
	},
	{
		method: http.MethodGet, path: PathAssign, name: "assign", summary: "Who has what",
		params: []parameter{{"system", "Only of this system.", ""}, consistent}, answer: Assign{}, fails: with(asking, CodeNotFound),
	},
	{
		method: http.MethodGet, path: PathRoute, name: "route", summary: "Where a key of a system is",
		text:   "Its item, whose that is by rank, and the whole preference list. Who looks up often takes the table and a watch instead, as the Go client's Router does.",
		params: []parameter{{"system", "The system.", ""}, {"key", "The key: of a system without partitions an item.", ""}, consistent},
		answer: Route{}, fails: with(asking, CodeBadRequest, CodeNotFound),
	},
	{
		method: http.MethodGet, path: PathRouteTable, name: "routeTable", summary: "What it takes to say where keys are, besides the rows of the system",
		params: []parameter{{"system", "The system.", ""}, consistent},
		answer: RouteTable{}, fails: with(asking, CodeBadRequest, CodeNotFound),
	},
	{
		method: http.MethodGet, path: PathState, name: "state", summary: "All that is agreed",
		text: "As the package fsm of flip writes a snapshot: it is what `flip plan` reckons with. The headers `Flip-Index`, `Flip-Age-Ms` and `Flip-Time-Ms` say what it was read from and when.",
		kind: "application/octet-stream", params: []parameter{consistent}, fails: with(asking, CodeBusy),
	},
	{
		method: http.MethodGet, path: PathVersion, name: "version", summary: "What the daemon is made of",
		answer: Version{}, fails: always,
	},
	{
		method: http.MethodGet, path: PathHealth, name: "health", summary: "Whether the node is ready, as a status",
		text:   "200 when it is, 503 while it is not: made for a probe.",
		answer: Health{}, also: map[int]any{http.StatusServiceUnavailable: Health{}}, fails: always,
	},
	{
		method: http.MethodGet, path: PathDoctor, name: "doctor", summary: "What only the daemon knows of what `flip doctor` looks at",
		text:   "It asks every other member, so it takes a moment.",
		answer: Doctor{}, fails: always,
	},
	{
		method: http.MethodGet, path: PathOpenAPI, name: "openapi", summary: "This document",
		answer: map[string]any{}, fails: always,
	},
	{
		method: http.MethodGet, path: "/metrics", name: "metrics", summary: "Metrics in the format of Prometheus",
	},
	{
		method: http.MethodGet, path: PathWatch, name: "watch", summary: "What changes, as it changes",
		text: "One event a line, until one side closes. With neither `index` nor `from` it begins with how things are.",
		params: []parameter{
			{"index", "Go on after this index: that of the newest event without `more` that was read.", fsm.Index(0)},
			{"from", "`now`: begin with what is yet to happen.", ""},
			{"system", "Leave out the items of all other systems.", ""},
			{"beat_ms", "Say so often, from 100 to 15000, how old what was told may be, by a line of kind `idle` with `age_ms`.", int64(0)},
		},
		answer: Event{}, stream: true, fails: with(always, CodeBadRequest, CodeNotFound, CodeBusy),
	},
	{
		method: http.MethodGet, path: PathMembers, name: "members", summary: "Who is a member, and what a joining or a removal waits for",
		params: []parameter{consistent}, answer: Members{}, fails: asking,
	},
	{
		method: http.MethodPost, path: PathMemberAdd, name: "memberAdd", summary: "Make a node a member",
		text: "It is agreed on when the answer comes; the node becomes one once it runs and asks to join.",
		body: MemberAdd{}, answer: MemberChanged{}, fails: with(changes, CodeNotFound),
	},
	{
		method: http.MethodPost, path: PathMemberRemove, name: "memberRemove", summary: "Take a member out of the cluster",
		text: "It is agreed on when the answer comes; first everything that the member has moves away, and its `waits` say how far that is.",
		body: MemberRemove{}, answer: MemberChanged{}, fails: with(changes, CodeNotFound),
	},
	{
		method: http.MethodPost, path: PathMemberPromote, name: "memberPromote", summary: "Give an agent a vote",
		text: "It is agreed on when the answer comes; the member gets its vote once it has the log and hears the others. It keeps what it has.",
		body: MemberPromote{}, answer: MemberChanged{}, fails: with(changes, CodeNotFound),
	},
	{
		method: http.MethodPost, path: PathMemberDemote, name: "memberDemote", summary: "Make an agent of a voter",
		text: "It is agreed on when the answer comes; its vote is taken as soon as the last change of the voters is long enough ago. It keeps what it has.",
		body: MemberDemote{}, answer: MemberChanged{}, fails: with(changes, CodeNotFound),
	},
	{
		method: http.MethodGet, path: PathKey, name: "key", summary: "How the cluster's key is, and how far its rotation has come",
		params: []parameter{{Secret, "With the key itself. On the unix socket only.", nil}, consistent},
		answer: Key{}, fails: with(asking, CodeForbidden),
	},
	{
		method: http.MethodPost, path: PathKeyRotate, name: "keyRotate", summary: "Rotate the cluster's key",
		text: "It is agreed on when the answer comes; the members go through its phases by themselves. With `without` and no `key`, while a rotation is under way, it goes on without these members.",
		body: KeyRotate{}, answer: KeyRotated{}, fails: with(changes, CodeNotFound),
	},
	{
		method: http.MethodPost, path: PathCleanup, name: "cleanup", summary: "Forget failures, so that the items are tried there again",
		text: "Of one item, of a system, or with {} all. The answer has what was remembered before.",
		body: Cleanup{}, answer: Cleaned{}, fails: with(changes, CodeNotFound),
	},
	{
		method: http.MethodPost, path: PathMaintenance, name: "maintenance", summary: "Begin or end the maintenance of a system, or of all",
		body: Maintain{}, answer: Maintained{}, fails: with(changes, CodeNotFound),
	},
	{
		method: http.MethodPost, path: PathRelease, name: "release", summary: "Make void what an item waits for",
		text: "The claims are all entries of the item's rows whose `blocks` is true, and no other. If the other side still has the item, two will: only who asks can know.",
		body: Release{}, answer: Released{}, fails: with(changes, CodeNotFound, CodeChanged),
	},
	{
		method: http.MethodPost, path: PathProgram, name: "program", summary: "Claim a system of `action` client for the program that asks",
		text: "One event a line for as long as the claim lasts: what to take and what to let go of. On the unix socket only, of the member's own machine.",
		body: ProgramClaim{}, answer: ProgramEvent{}, stream: true,
		fails: with(always, CodeBadRequest, CodeTooLarge, CodeNotFound, CodeForbidden, CodeClaimed, CodeRefused),
	},
	{
		method: http.MethodPost, path: PathProgramAck, name: "programAck", summary: "Say what a program has taken and let go of",
		text: "The answer says for how long at-most-one items may be held on.",
		body: ProgramAck{}, answer: ProgramAcked{}, fails: with(always, CodeBadRequest, CodeTooLarge, CodeNotFound, CodeForbidden),
	},
}

// enums are the fields that have one of a few values.
var enums = map[string][]string{
	"Alarm.severity":     {Critical, Warning, Note},
	"Finding.code":       {"", FindSelf, FindOK, FindRefused, FindSilent, FindKey, FindOldKey, FindCluster, FindVoters, FindWire, FindName},
	"Gate.state":         {"", GateOpen, GateShut, GateNone, GateNotNeeded},
	"Guard.state":        {"", GuardRunning, GuardNone, GuardNotNeeded},
	"Member.state":       {MemberUp, MemberDown, MemberNever, MemberLeaving, MemberUnsettled},
	"Event.member_state": {MemberUp, MemberDown, MemberNever, MemberLeaving, MemberUnsettled, MemberGone},
	"RouteMember.state":  {MemberUp, MemberDown, MemberNever, MemberLeaving, MemberUnsettled, MemberGone},
	"RouteOwner.state":   {RowAcquired, RowStarting, RowWaiting, RowNobody, RowReplicated},
	"MemberInfo.state":   {MemberUp, MemberDown, MemberNever, MemberLeaving, MemberUnsettled},
	"Row.state":          {RowAcquired, RowStarting, RowWaiting, RowNobody, RowReplicated, RowRemoved},
}

func with(codes []string, more ...string) []string {
	return append(append([]string{}, codes...), more...)
}
