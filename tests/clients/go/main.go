// A client of connect-go for one call, which the Python tests start. Standard input has the request's messages, and
// standard output the response: a line of JSON for each message, and one for the end of the call.
package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/net/http2"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

type message = dynamicpb.Message

// headers collects the flags `-header "name: value"`.
type headers http.Header

func (h headers) String() string { return "" }
func (h headers) Set(line string) error {
	name, value, _ := strings.Cut(line, ": ")
	http.Header(h).Add(name, value)
	return nil
}

// response is what the program prints: a message, or the end.
type response struct {
	Message []byte `json:"message,omitempty"`
	End     *end   `json:"end,omitempty"`
}

type end struct {
	// Empty after a successful call.
	Code     string      `json:"code"`
	Message  string      `json:"message"`
	Details  []detail    `json:"details"`
	Headers  http.Header `json:"headers"`
	Trailers http.Header `json:"trailers"`
}

type detail struct {
	Type  string `json:"type"`
	Value []byte `json:"value"`
}

func main() {
	log.SetFlags(0)
	protocol := flag.String("protocol", "connect", "connect, grpc or grpc-web")
	isJSON := flag.Bool("json", false, "encode messages as JSON")
	useGet := flag.Bool("get", false, "call methods without side effects with GET")
	timeout := flag.Duration("timeout", 0, "the client's deadline")
	descriptors := flag.String("descriptors", "", "a file with a FileDescriptorSet")
	sent := headers{}
	flag.Var(sent, "header", "a header of the request, as \"name: value\"")
	flag.Parse()
	url, name := flag.Arg(0), flag.Arg(1)

	method := find(*descriptors, name)
	options := []connect.ClientOption{
		connect.WithSchema(method),
		connect.WithResponseInitializer(func(_ connect.Spec, empty any) error {
			*empty.(*message) = *dynamicpb.NewMessage(method.Output())
			return nil
		}),
	}
	switch *protocol {
	case "grpc":
		options = append(options, connect.WithGRPC())
	case "grpc-web":
		options = append(options, connect.WithGRPCWeb())
	}
	if *isJSON {
		options = append(options, connect.WithProtoJSON())
	}
	if *useGet {
		options = append(options, connect.WithHTTPGet())
	}
	if method.Options().(*descriptorpb.MethodOptions).GetIdempotencyLevel() == descriptorpb.MethodOptions_NO_SIDE_EFFECTS {
		options = append(options, connect.WithIdempotency(connect.IdempotencyNoSideEffects))
	}
	// The test cancels the call with SIGTERM.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if *timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, *timeout)
		defer cancel()
	}
	call := call{
		client:  connect.NewClient[message, message](http2Client(), url+"/"+name, options...),
		method:  method,
		headers: http.Header(sent),
	}
	printEnd(call.run(ctx))
}

// find returns the descriptor of the method `package.Service/Method`.
func find(file, name string) protoreflect.MethodDescriptor {
	bytes, err := os.ReadFile(file)
	check(err)
	set := &descriptorpb.FileDescriptorSet{}
	check(proto.Unmarshal(bytes, set))
	files, err := protodesc.NewFiles(set)
	check(err)
	found, err := files.FindDescriptorByName(protoreflect.FullName(strings.Replace(name, "/", ".", 1)))
	check(err)
	return found.(protoreflect.MethodDescriptor)
}

// http2Client speaks HTTP/2 without TLS.
func http2Client() *http.Client {
	return &http.Client{Transport: &http2.Transport{
		AllowHTTP: true,
		DialTLSContext: func(ctx context.Context, network, address string, _ *tls.Config) (net.Conn, error) {
			return (&net.Dialer{Timeout: 10 * time.Second}).DialContext(ctx, network, address)
		},
	}}
}

type call struct {
	client  *connect.Client[message, message]
	method  protoreflect.MethodDescriptor
	headers http.Header
}

// run makes the call, and returns the response's headers and trailers.
func (c call) run(ctx context.Context) (http.Header, http.Header, error) {
	switch {
	case c.method.IsStreamingClient() && c.method.IsStreamingServer():
		return c.bidirectional(ctx)
	case c.method.IsStreamingClient():
		return c.clientStream(ctx)
	case c.method.IsStreamingServer():
		return c.serverStream(ctx)
	default:
		return c.unary(ctx)
	}
}

func (c call) unary(ctx context.Context) (http.Header, http.Header, error) {
	response, err := c.client.CallUnary(ctx, c.request())
	if err != nil {
		return nil, nil, err
	}
	printMessage(response.Msg)
	return response.Header(), response.Trailer(), nil
}

func (c call) serverStream(ctx context.Context) (http.Header, http.Header, error) {
	stream, err := c.client.CallServerStream(ctx, c.request())
	if err != nil {
		return nil, nil, err
	}
	for stream.Receive() {
		printMessage(stream.Msg())
	}
	headers, trailers := stream.ResponseHeader(), stream.ResponseTrailer()
	err = stream.Err()
	_ = stream.Close()
	return headers, trailers, err
}

func (c call) clientStream(ctx context.Context) (http.Header, http.Header, error) {
	stream := c.client.CallClientStream(ctx)
	copyTo(stream.RequestHeader(), c.headers)
	each(c.method, func(request *message) bool { return stream.Send(request) == nil })
	response, err := stream.CloseAndReceive()
	if err != nil {
		return nil, nil, err
	}
	printMessage(response.Msg)
	return response.Header(), response.Trailer(), nil
}

func (c call) bidirectional(ctx context.Context) (http.Header, http.Header, error) {
	stream := c.client.CallBidiStream(ctx)
	copyTo(stream.RequestHeader(), c.headers)
	go func() {
		each(c.method, func(request *message) bool { return stream.Send(request) == nil })
		_ = stream.CloseRequest()
	}()
	for {
		response, err := stream.Receive()
		if err != nil {
			headers, trailers := stream.ResponseHeader(), stream.ResponseTrailer()
			_ = stream.CloseResponse()
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return headers, trailers, err
		}
		printMessage(response)
	}
}

// request reads the only message of a request.
func (c call) request() *connect.Request[message] {
	var request *connect.Request[message]
	each(c.method, func(message *message) bool {
		request = connect.NewRequest(message)
		return true
	})
	copyTo(request.Header(), c.headers)
	return request
}

// each passes the messages of standard input to `use`, which returns false to stop.
func each(method protoreflect.MethodDescriptor, use func(*message) bool) {
	lines := bufio.NewReader(os.Stdin)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return
		}
		bytes, err := base64.StdEncoding.DecodeString(strings.TrimSpace(line))
		check(err)
		request := dynamicpb.NewMessage(method.Input())
		check(proto.Unmarshal(bytes, request))
		if !use(request) {
			return
		}
	}
}

func copyTo(to, from http.Header) {
	for name, values := range from {
		to[name] = values
	}
}

func printMessage(message proto.Message) {
	bytes, err := proto.Marshal(message)
	check(err)
	printLine(response{Message: bytes})
}

func printEnd(headers, trailers http.Header, err error) {
	ended := &end{Headers: headers, Trailers: trailers}
	if failure := new(connect.Error); errors.As(err, &failure) {
		ended.Code, ended.Message = failure.Code().String(), failure.Message()
		for _, found := range failure.Details() {
			ended.Details = append(ended.Details, detail{found.Type(), found.Bytes()})
		}
		if headers == nil {
			ended.Headers = failure.Meta()
		}
	} else {
		check(err)
	}
	printLine(response{End: ended})
}

func printLine(value response) {
	check(json.NewEncoder(os.Stdout).Encode(value))
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
