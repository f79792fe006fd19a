// A peer built on the OpenIGTLink C++ library: `peer read PORT N` connects, reads N messages and prints each as one
// line of JSON; `peer serve PORT` sends one message of each type to the first client and waits until it has gone.

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "igtlClientSocket.h"
#include "igtlImageMessage.h"
#include "igtlMessageHeader.h"
#include "igtlPointMessage.h"
#include "igtlSensorMessage.h"
#include "igtlServerSocket.h"
#include "igtlStatusMessage.h"
#include "igtlStringMessage.h"
#include "igtlTrackingDataMessage.h"
#include "igtlTransformMessage.h"
#include "igtl_util.h"

namespace {

template <class M>
typename M::Pointer receive(igtl::Socket* socket, igtl::MessageHeader::Pointer& header) {
    typename M::Pointer message = M::New();
    message->SetMessageHeader(header);
    message->AllocatePack();
    socket->Receive(message->GetPackBodyPointer(), message->GetPackBodySize());
    if (!(message->Unpack(1) & igtl::MessageHeader::UNPACK_BODY)) {
        std::printf(", \"crc\": false");
    }
    return message;
}

void print_matrix(igtl::Matrix4x4& m) {
    std::printf(", \"matrix\": [");
    for (int i = 0; i < 4; i++) {
        std::printf("%s[%.9g, %.9g, %.9g, %.9g]", i ? ", " : "", m[i][0], m[i][1], m[i][2], m[i][3]);
    }
    std::printf("]");
}

void print_triple(const char* name, const float* v) {
    std::printf(", \"%s\": [%.9g, %.9g, %.9g]", name, v[0], v[1], v[2]);
}

void print_transform(igtl::Socket* socket, igtl::MessageHeader::Pointer& header) {
    igtl::Matrix4x4 matrix;
    receive<igtl::TransformMessage>(socket, header)->GetMatrix(matrix);
    print_matrix(matrix);
}

void print_status(igtl::Socket* socket, igtl::MessageHeader::Pointer& header) {
    igtl::StatusMessage::Pointer status = receive<igtl::StatusMessage>(socket, header);
    std::printf(", \"code\": %d, \"subcode\": %lld, \"error_name\": \"%s\", \"message\": \"%s\"", status->GetCode(),
                static_cast<long long>(status->GetSubCode()), status->GetErrorName(), status->GetStatusString());
}

void print_string(igtl::Socket* socket, igtl::MessageHeader::Pointer& header) {
    igtl::StringMessage::Pointer text = receive<igtl::StringMessage>(socket, header);
    std::printf(", \"encoding\": %d, \"hex\": \"", text->GetEncoding());
    const std::string bytes = text->GetString();
    for (unsigned char c : bytes) {
        std::printf("%02x", c);
    }
    std::printf("\"");
}

void print_sensor(igtl::Socket* socket, igtl::MessageHeader::Pointer& header) {
    igtl::SensorMessage::Pointer sensor = receive<igtl::SensorMessage>(socket, header);
    std::printf(", \"unit\": %llu, \"values\": [", static_cast<unsigned long long>(sensor->GetUnit()));
    for (unsigned int i = 0; i < sensor->GetLength(); i++) {
        std::printf("%s%.17g", i ? ", " : "", sensor->GetValue(i));
    }
    std::printf("]");
}

void print_points(igtl::Socket* socket, igtl::MessageHeader::Pointer& header) {
    igtl::PointMessage::Pointer points = receive<igtl::PointMessage>(socket, header);
    std::printf(", \"points\": [");
    for (int i = 0; i < points->GetNumberOfPointElement(); i++) {
        igtl::PointElement::Pointer point;
        points->GetPointElement(i, point);
        igtlUint8 rgba[4];
        igtlFloat32 position[3];
        point->GetRGBA(rgba);
        point->GetPosition(position);
        std::printf("%s{\"name\": \"%s\", \"group\": \"%s\", \"owner\": \"%s\", \"radius\": %.9g, \"rgba\": [%d, %d, %d, %d]",
                    i ? ", " : "", point->GetName(), point->GetGroupName(), point->GetOwner(), point->GetRadius(),
                    rgba[0], rgba[1], rgba[2], rgba[3]);
        print_triple("position", position);
        std::printf("}");
    }
    std::printf("]");
}

void print_tools(igtl::Socket* socket, igtl::MessageHeader::Pointer& header) {
    igtl::TrackingDataMessage::Pointer tools = receive<igtl::TrackingDataMessage>(socket, header);
    std::printf(", \"tools\": [");
    for (int i = 0; i < tools->GetNumberOfTrackingDataElements(); i++) {
        igtl::TrackingDataElement::Pointer tool;
        tools->GetTrackingDataElement(i, tool);
        igtl::Matrix4x4 matrix;
        tool->GetMatrix(matrix);
        std::printf("%s{\"name\": \"%s\", \"kind\": %d", i ? ", " : "", tool->GetName(), tool->GetType());
        print_matrix(matrix);
        std::printf("}");
    }
    std::printf("]");
}

void print_image(igtl::Socket* socket, igtl::MessageHeader::Pointer& header) {
    igtl::ImageMessage::Pointer image = receive<igtl::ImageMessage>(socket, header);
    int size[3];
    float spacing[3], origin[3], t[3], s[3], n[3];
    image->GetDimensions(size);
    image->GetSpacing(spacing);
    image->GetOrigin(origin);
    image->GetNormals(t, s, n);
    std::printf(", \"size\": [%d, %d, %d], \"scalar_type\": %d, \"endian\": %d, \"components\": %d", size[0], size[1],
                size[2], image->GetScalarType(), image->GetEndian(), image->GetNumComponents());
    print_triple("spacing", spacing);
    print_triple("position", origin);
    print_triple("i_axis", t);
    print_triple("j_axis", s);
    print_triple("k_axis", n);
    if (image->GetScalarType() == igtl::ImageMessage::TYPE_FLOAT32) {
        const float* voxels = static_cast<const float*>(image->GetScalarPointer());
        std::printf(", \"voxels\": [");
        for (int i = 0; i < size[0] * size[1] * size[2]; i++) {
            std::printf("%s%.9g", i ? ", " : "", voxels[i]);
        }
        std::printf("]");
    }
}

bool print_next(igtl::Socket* socket) {
    igtl::MessageHeader::Pointer header = igtl::MessageHeader::New();
    header->InitPack();
    if (socket->Receive(header->GetPackPointer(), header->GetPackSize()) != header->GetPackSize()) {
        return false;
    }
    header->Unpack();
    igtl::TimeStamp::Pointer stamp = igtl::TimeStamp::New();
    header->GetTimeStamp(stamp);
    unsigned int seconds, nanoseconds;
    stamp->GetTimeStamp(&seconds, &nanoseconds);
    const std::string type = header->GetDeviceType();
    std::printf("{\"type\": \"%s\", \"device\": \"%s\", \"t_s\": %u.%09u", type.c_str(), header->GetDeviceName(), seconds,
                nanoseconds);
    if (type == "TRANSFORM") print_transform(socket, header);
    else if (type == "STATUS") print_status(socket, header);
    else if (type == "STRING") print_string(socket, header);
    else if (type == "SENSOR") print_sensor(socket, header);
    else if (type == "POINT") print_points(socket, header);
    else if (type == "TDATA") print_tools(socket, header);
    else if (type == "IMAGE") print_image(socket, header);
    else socket->Skip(header->GetBodySizeToRead(), 0);
    std::printf("}\n");
    std::fflush(stdout);
    return true;
}

int read(int port, int count) {
    igtl::ClientSocket::Pointer socket = igtl::ClientSocket::New();
    if (socket->ConnectToServer("127.0.0.1", port) != 0) {
        return 1;
    }
    for (int i = 0; i < count; i++) {
        if (!print_next(socket)) {
            return 2;
        }
    }
    socket->CloseSocket();
    return 0;
}

void turned(igtl::Matrix4x4& matrix) {
    igtl::IdentityMatrix(matrix);
    const float rows[3][4] = {{0, -1, 0, 10}, {1, 0, 0, -20}, {0, 0, 1, 30.5}};
    for (int i = 0; i < 3; i++) {
        for (int j = 0; j < 4; j++) {
            matrix[i][j] = rows[i][j];
        }
    }
}

void send(igtl::Socket* socket, igtl::MessageBase* message, const char* device) {
    message->SetDeviceName(device);
    igtl::TimeStamp::Pointer stamp = igtl::TimeStamp::New();
    stamp->SetTime(1800000000u, 250000000u);
    message->SetTimeStamp(stamp);
    message->Pack();
    socket->Send(message->GetPackPointer(), message->GetPackSize());
}

void send_image(igtl::Socket* socket) {
    igtl::ImageMessage::Pointer image = igtl::ImageMessage::New();
    image->SetDimensions(4, 3, 2);
    image->SetSpacing(2.0f, 3.0f, 4.0f);
    image->SetScalarType(igtl::ImageMessage::TYPE_FLOAT32);
    image->SetEndian(igtl_is_little_endian() ? igtl::ImageMessage::ENDIAN_LITTLE : igtl::ImageMessage::ENDIAN_BIG);
    image->AllocateScalars();
    igtl::Matrix4x4 matrix;
    turned(matrix);
    image->SetMatrix(matrix);
    float* voxels = static_cast<float*>(image->GetScalarPointer());
    for (int i = 0; i < 24; i++) {
        voxels[i] = static_cast<float>(i);
    }
    send(socket, image, "Image_Reference");
}

void send_lists(igtl::Socket* socket, igtl::Matrix4x4& matrix) {
    igtl::PointMessage::Pointer points = igtl::PointMessage::New();
    igtl::PointElement::Pointer point = igtl::PointElement::New();
    point->SetName("Spot 1");
    point->SetGroupName("Spot");
    point->SetRGBA(255, 128, 0, 64);
    point->SetPosition(1.5, -2.5, 3.5);
    point->SetRadius(4.5);
    point->SetOwner("Activity_Reference");
    points->AddPointElement(point);
    send(socket, points, "HotSpots");

    igtl::TrackingDataMessage::Pointer tools = igtl::TrackingDataMessage::New();
    igtl::TrackingDataElement::Pointer tool = igtl::TrackingDataElement::New();
    tool->SetName("ProbeToTracker");
    tool->SetType(igtl::TrackingDataElement::TYPE_6D);
    tool->SetMatrix(matrix);
    tools->AddTrackingDataElement(tool);
    send(socket, tools, "Tracker");
}

int serve(int port) {
    igtl::ServerSocket::Pointer server = igtl::ServerSocket::New();
    if (server->CreateServer(port) < 0) {
        return 1;
    }
    std::printf("ready\n");
    std::fflush(stdout);
    igtl::ClientSocket::Pointer client = server->WaitForConnection(10000);
    if (client.IsNull()) {
        return 2;
    }
    igtl::Socket* socket = client.GetPointer();
    igtl::Matrix4x4 matrix;
    turned(matrix);
    igtl::TransformMessage::Pointer transform = igtl::TransformMessage::New();
    transform->SetMatrix(matrix);
    send(socket, transform, "ProbeToTracker");

    igtl::StatusMessage::Pointer status = igtl::StatusMessage::New();
    status->SetCode(igtl::StatusMessage::STATUS_NOT_READY);
    status->SetSubCode(-7);
    status->SetErrorName("WARMING_UP");
    status->SetStatusString("two minutes");
    send(socket, status, "Tracker");

    igtl::StringMessage::Pointer text = igtl::StringMessage::New();
    text->SetString("{\"seq\": 17, \"counts_total\": 5312, \"live_time_s\": 1.7, \"counts\": 41, \"interval_s\": 0.1}");
    send(socket, text, "GammaProbe");

    const igtlFloat64 numbers[5] = {17, 5312, 1.7, 41, 0.1};
    igtl::SensorMessage::Pointer sensor = igtl::SensorMessage::New();
    sensor->SetLength(5);
    sensor->SetUnit(0ULL);
    for (unsigned int i = 0; i < 5; i++) {
        sensor->SetValue(i, numbers[i]);
    }
    send(socket, sensor, "GammaProbe");
    send_lists(socket, matrix);
    send_image(socket);
    char byte;
    while (socket->Receive(&byte, 1) > 0) {
    }
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc == 4 && std::strcmp(argv[1], "read") == 0) {
        return read(std::atoi(argv[2]), std::atoi(argv[3]));
    }
    if (argc == 3 && std::strcmp(argv[1], "serve") == 0) {
        return serve(std::atoi(argv[2]));
    }
    std::fprintf(stderr, "usage: peer read PORT N | peer serve PORT\n");
    return 64;
}
