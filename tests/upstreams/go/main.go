// A server of grpc-go, as an upstream of the gateway in tests. It serves every service and prints its port.
package main

import (
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"path"
	"time"

	"google.golang.org/grpc"
)

// raw passes messages as bytes: the server has no contract.
type raw struct{}

func (raw) Name() string                  { return "raw" }
func (raw) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }
func (raw) Unmarshal(data []byte, v any) error {
	*v.(*[]byte) = append([]byte(nil), data...)
	return nil
}

// handle responds according to the name of the method.
func handle(_ any, stream grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(stream)
	ended := stream.Context().Done()
	message := []byte("tick")
	switch path.Base(method) {
	case "Tick": // One message every 50 ms, without an end.
		for {
			if err := stream.SendMsg(&message); err != nil {
				return err
			}
			select {
			case <-ended:
				return nil
			case <-time.After(50 * time.Millisecond):
			}
		}
	case "Hang": // No response.
		<-ended
		return nil
	default: // One message when the request has ended.
		for {
			var received []byte
			if err := stream.RecvMsg(&received); errors.Is(err, io.EOF) {
				return stream.SendMsg(&message)
			} else if err != nil {
				return err
			}
		}
	}
}

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	server := grpc.NewServer(grpc.ForceServerCodec(raw{}), grpc.UnknownServiceHandler(handle))
	log.Fatal(server.Serve(listener))
}
