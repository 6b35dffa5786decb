package fanout_test

import (
	"bufio"
	"context"
	"fmt"
	"net"

	"github.com/prometheus/client_golang/prometheus"

	"vnode/fanout"
)

// What is appended to a log once reaches each session that follows it, with the
// recipient's address put in.
func Example() {
	b := fanout.New(fanout.Config{Shards: 1}, prometheus.NewRegistry())
	defer b.Close(context.Background())
	room := b.NewLog()

	near, far := net.Pipe()
	s := b.Attach(fanout.Options{Conn: fanout.Conn{Conn: near, Framing: fanout.Raw}, To: "ann@example/web"})
	s.Follow(room)
	room.Append(fanout.NewMessage(fanout.Plain, "", []byte("<presence to='"), []byte("'/>\n")))

	line, err := bufio.NewReader(far).ReadString('\n')
	fmt.Print(line, err)
	s.Abort("done")
	<-s.Done()
	// Output:
	// <presence to='ann@example/web'/>
	// <nil>
}
