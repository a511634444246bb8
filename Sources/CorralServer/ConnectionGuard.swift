internal import CorralAPI
internal import HTTPTypes
internal import NIOCore
internal import NIOHTTP1
internal import NIOHTTPTypes

/// Stands before the HTTP decoder of a connection: turns it away, and closes it when it makes no progress.
///
/// All of it happens on the connection's event loop.
final class ConnectionGuard: ChannelDuplexHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer
    typealias OutboundIn = NIOAny
    typealias OutboundOut = ByteBuffer

    /// Time for a client that is turned away to read why.
    private static let lingering = TimeAmount.seconds(1)
    /// Time for an answer to end whose client sends no more: one that has closed its side is not told from one that is gone.
    private static let farewell = Duration.seconds(5)

    private enum Phase {
        /// No request has begun; bytes may have come.
        case between(hasBytes: Bool)
        /// A head was read, its body was not.
        case body
        /// Nothing is expected of the client.
        case answering
        case refused
    }

    private let limits: ConnectionLimits
    private let refusal: Failure?
    private let isRemote: Bool
    private var isInputClosed = false
    private var phase = Phase.between(hasBytes: false)
    private var hasAnswerBegun = false
    private var isRequestRead = true
    private var isReading = false
    private var deadline: NIODeadline?
    private var timer: Scheduled<Void>?

    /// With `refusal`, the connection is answered with that and closed. `isRemote`: over TCP, where the end of what a client
    /// sends is all that tells of its end; a unix socket also tells that nobody reads.
    init(_ limits: ConnectionLimits, isRemote: Bool = false, refusal: Failure? = nil) {
        self.limits = limits
        self.isRemote = isRemote
        self.refusal = refusal
    }

    func handlerAdded(context: ChannelHandlerContext) {
        if context.channel.isActive { begin(context) }
    }

    func channelActive(context: ChannelHandlerContext) {
        begin(context)
        context.fireChannelActive()
    }

    private func begin(_ context: ChannelHandlerContext) {
        if let refusal {
            refuse(context, refusal)
        } else {
            expect(within: limits.headerTimeout, context)
        }
    }

    func channelInactive(context: ChannelHandlerContext) {
        stop()
        context.fireChannelInactive()
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        stop()
    }

    private func stop() {
        deadline = nil
        timer?.cancel()
        timer = nil
    }

    // MARK: Bytes

    func read(context: ChannelHandlerContext) {
        isReading = true
        context.read()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        isReading = false
        switch phase {
        case .refused: return
        case .between(hasBytes: false):
            phase = .between(hasBytes: true)
            // The first head's time runs from the connection on.
            if hasServed { expect(within: limits.headerTimeout, context) }
        case .between, .body, .answering: break
        }
        context.fireChannelRead(data)
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        if case .refused = phase {
            context.read()
        } else {
            context.fireChannelReadComplete()
        }
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case .inputClosed? = event as? ChannelEvent {
            if case .refused = phase { return context.close(promise: nil) }
            if isRemote {
                // In the middle of a request: nobody will hear of it.
                if case .body = phase { return context.close(promise: nil) }
                isInputClosed = true
                expect(within: Self.farewell, context)
            }
        }
        context.fireUserInboundEventTriggered(event)
    }

    // MARK: What RequestProgress sees

    private var hasServed = false

    fileprivate func headRead(_ context: ChannelHandlerContext) {
        phase = .body
        isRequestRead = false
        hasAnswerBegun = false
        expect(within: limits.idleTimeout, context)
    }

    fileprivate func bodyRead(_ context: ChannelHandlerContext) {
        if !hasAnswerBegun { expect(within: limits.idleTimeout, context) }
    }

    fileprivate func requestRead() {
        isRequestRead = true
        guard case .body = phase else { return }
        phase = .answering
        if !isInputClosed { deadline = nil }
    }

    fileprivate func answerBegun() {
        hasAnswerBegun = true
        // Attached clients send when they have something to send.
        if !isInputClosed { deadline = nil }
    }

    fileprivate func answerEnded(_ context: ChannelHandlerContext) {
        hasServed = true
        phase = isRequestRead ? .between(hasBytes: false) : .body
        expect(within: limits.idleTimeout, context)
    }

    fileprivate func headTooLarge(_ context: ChannelHandlerContext) {
        refuse(
            context,
            Failure(
                .requestHeaderFieldsTooLarge, "invalid_request",
                "the request's line and fields are longer than \(limits.headerSize) bytes"))
    }

    // MARK: Ends

    private func expect(within time: Duration, _ context: ChannelHandlerContext) {
        deadline = .now() + TimeAmount(time)
        if let deadline { schedule(deadline, context) }
    }

    /// One timer a connection; a deadline that moves on is looked at when the earlier one has passed.
    private func schedule(_ moment: NIODeadline, _ context: ChannelHandlerContext) {
        if let timer {
            if moment >= timerMoment { return }
            timer.cancel()
        }
        timerMoment = moment
        timer = context.eventLoop.assumeIsolated().scheduleTask(deadline: moment) { [weak self] in
            self?.timePassed(context)
        }
    }
    private var timerMoment = NIODeadline.distantFuture

    private func timePassed(_ context: ChannelHandlerContext) {
        timer = nil
        guard let deadline else { return }
        guard NIODeadline.now() >= deadline else { return schedule(deadline, context) }
        switch phase {
        case .refused: context.close(promise: nil)
        case .between(hasBytes: false): context.close(promise: nil)
        case .answering:
            if isInputClosed { context.close(promise: nil) }
        case .body where !isReading:
            // It is this side that does not take more.
            expect(within: limits.idleTimeout, context)
        case .body where hasAnswerBegun: context.close(promise: nil)
        case .between, .body:
            refuse(context, Failure(.requestTimeout, "invalid_request", "the request did not come in time"))
        }
    }

    /// The answer that is being written is the last.
    fileprivate func close(_ context: ChannelHandlerContext) {
        phase = .refused
        linger(context)
    }

    /// Answers, sends nothing more, and lets the client read it: closing at once would make the kernel throw it away where
    /// the client has sent what was not read.
    private func refuse(_ context: ChannelHandlerContext, _ failure: Failure) {
        phase = .refused
        let body = failure.bodyBytes
        let status = failure.status
        var answer = "HTTP/1.1 \(status.code) \(status.reasonPhrase)\r\nContent-Type: application/json\r\n"
        for field in failure.headers { answer += "\(field.name.rawName): \(field.value)\r\n" }
        answer += "Connection: close\r\nContent-Length: \(body.count)\r\n\r\n"
        var bytes = context.channel.allocator.buffer(capacity: answer.utf8.count + body.count)
        bytes.writeString(answer)
        bytes.writeBytes(body)
        context.writeAndFlush(wrapOutboundOut(bytes), promise: nil)
        linger(context)
    }

    private func linger(_ context: ChannelHandlerContext) {
        context.close(mode: .output, promise: nil)
        deadline = .now() + Self.lingering
        if let deadline { schedule(deadline, context) }
        context.read()
    }
}

extension TimeAmount {
    fileprivate init(_ duration: Duration) {
        let (seconds, attoseconds) = duration.components
        self = .seconds(seconds) + .nanoseconds(attoseconds / 1_000_000_000)
    }
}

/// Behind the HTTP decoder: tells the connection's guard how far its request has come.
final class RequestProgress: ChannelDuplexHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPRequestPart
    typealias InboundOut = HTTPRequestPart
    typealias OutboundIn = HTTPResponsePart
    typealias OutboundOut = HTTPResponsePart

    private var isLast = false
    private var watch: (guardian: ConnectionGuard, context: ChannelHandlerContext)?

    func handlerAdded(context: ChannelHandlerContext) {
        let operations = context.pipeline.syncOperations
        guard let guardian = try? operations.handler(type: ConnectionGuard.self),
            let place = try? operations.context(handlerType: ConnectionGuard.self)
        else { return }
        watch = (guardian, place)
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        watch = nil
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        if let watch {
            switch unwrapInboundIn(data) {
            case .head: watch.guardian.headRead(watch.context)
            case .body: watch.guardian.bodyRead(watch.context)
            case .end: watch.guardian.requestRead()
            }
        }
        context.fireChannelRead(data)
    }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        let part = unwrapOutboundIn(data)
        guard let watch else {
            context.write(data, promise: promise)
            return
        }
        switch part {
        case .head(let head):
            isLast = head.headerFields[.connection] == "close"
            context.write(data, promise: promise)
            watch.guardian.answerBegun()
        case .body:
            context.write(data, promise: promise)
        case .end where isLast:
            context.writeAndFlush(data, promise: promise)
            watch.guardian.close(watch.context)
        case .end:
            context.write(data, promise: promise)
            watch.guardian.answerEnded(watch.context)
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        if case .headerOverflow? = error as? HTTPParserError, let watch {
            watch.guardian.headTooLarge(watch.context)
        } else {
            context.fireErrorCaught(error)
        }
    }
}
