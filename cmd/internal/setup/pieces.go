package setup

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// The pieces are complete configurations for programs on other machines and in
// containers.

func (pl *planner) piece(name string) string { return pl.o.path("etc/vnode/pieces", name) }

// container is a node as docker-jitsi-meet numbers them.
type container struct {
	ID, Service    string
	Number         int
	S2S, C2S, HTTP int
	Others         []string // admin addresses of the other nodes
}

// containerAdmin is the port of a container's metrics and health.
const containerAdmin = 9280

// passedOn are the variables of docker-jitsi-meet that a node's container gets as
// they are.
var passedOn = []string{
	"STUN_HOST", "STUN_PORT", "TURN_HOST", "TURN_PORT", "TURN_TRANSPORT", "TURNS_HOST", "TURNS_PORT",
	"TURN_CREDENTIALS", "TURN_USERNAME", "TURN_PASSWORD", "TURN_TTL", "LOG_LEVEL",
}

// containers number the nodes from 0: docker-jitsi-meet's templates do, in the
// order of VISITORS_XMPP_SERVER.
func (pl *planner) containers() (all []container) {
	for i := range pl.nodes {
		all = append(all, container{ID: fmt.Sprintf("v%d", i), Service: fmt.Sprintf("vnode%d", i), Number: i,
			S2S: 52690 + i, C2S: 52220 + i, HTTP: 52800 + i})
	}
	for i := range all {
		for j, other := range all {
			if i != j {
				all[i].Others = append(all[i].Others, fmt.Sprintf("%s:%d", other.Service, containerAdmin))
			}
		}
	}
	return all
}

// grace is how long a container may take to end: its conferences go on for
// drain-timeout, closing them takes up to twice drain-spread, and then it has a
// while to say good-bye.
func grace() (time.Duration, error) {
	c, err := parseConfig(nil)
	if err != nil {
		return 0, err
	}
	return time.Duration(c.DrainTimeout+2*c.DrainSpread) + 30*time.Second, nil
}

func (pl *planner) planPieces() error {
	wait, err := grace()
	if err != nil {
		return err
	}
	containers := pl.containers()
	servers := make([]string, len(containers))
	for i, c := range containers {
		servers[i] = c.Service
	}
	docker := map[string]any{"Nodes": containers, "Servers": strings.Join(servers, ","), "Tag": pl.o.imageTag(), "Grace": wait.String(), "Admin": containerAdmin, "TURN": passedOn,
		"MaxParticipants": pl.o.MaxParticipants, "VisitorsPerNode": pl.o.VisitorsPerNode}
	prosody := pl.completePiece()
	prosody.Modules = true
	kubernetes := map[string]any{"Count": len(pl.nodes), "TURNServices": pl.world.turnServices, "MainDomain": pl.world.mainDomain, "MainS2S": pl.o.MainS2S,
		"RoomPrefix": pl.world.roomPrefix, "ExtraDomains": list(pl.o.ExtraDomains), "PasswordFile": pl.passwordFile()}
	if len(pl.nodes) > 0 {
		first := pl.nodes[0].Number
		// Ordinals follow each other: gaps in the numbers here do not exist there.
		kubernetes["First"], kubernetes["Last"] = first, first+len(pl.nodes)-1
	}
	for _, p := range []struct {
		name, template, comment string
		data                    any
		kind                    string // of containers
	}{
		{"prosody.cfg.lua", "prosody.cfg.lua", "--", prosody, ""},
		{"nginx-http.conf", "nginx-http.conf", "#", nginxPiece{Nodes: pl.nodes, All: pl.nodes, Prosody: "127.0.0.1:5280", Map: true}, ""},
		{"nginx-locations.conf", "nginx-locations.conf", "#", nil, ""},
		{"jicofo.conf", "jicofo.conf", "//", map[string]any{"Settings": pl.jicofoSettings(pl.password)}, ""},
		{"docker/vnode.env", "vnode.env", "#", docker, "docker"},
		{"docker/docker-compose.vnode.yml", "docker-compose.vnode.yml", "#", docker, "docker"},
		{"docker/vnode-router.conf", "vnode-router.conf", "#", docker, "docker"},
		{"kubernetes/values.yaml", "kubernetes-values.yaml", "#", kubernetes, "kubernetes"},
	} {
		path := pl.piece(p.name)
		if len(pl.nodes) == 0 || p.kind != "" && !slices.Contains(list(pl.o.Pieces), p.kind) {
			if err := pl.plan.Remove(path, false); err != nil {
				return err
			}
			continue
		}
		text, err := render(p.template, p.data)
		if err != nil {
			return err
		}
		if err := pl.plan.Own(path, p.comment, text, 0o600); err != nil {
			return err
		}
	}
	return nil
}
