// The types that `peer.cxx` does not speak, packed and unpacked by the OpenIGTLink C++ library: `types read` prints
// each message on its input as one line of JSON, `types make` writes one message of each type to its output.

#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "igtlCapabilityMessage.h"
#include "igtlImageMetaMessage.h"
#include "igtlLabelMetaMessage.h"
#include "igtlMessageHeader.h"
#include "igtlNDArrayMessage.h"
#include "igtlPolyDataMessage.h"
#include "igtlPositionMessage.h"
#include "igtlQuaternionTrackingDataMessage.h"
#include "igtlTrackingDataMessage.h"
#include "igtlTrajectoryMessage.h"

namespace {

void print_text(const char* name, const char* text) { std::printf(", \"%s\": \"%s\"", name, text); }

template <class T>
void print_numbers(const char* name, const T* values, int n) {
    std::printf(", \"%s\": [", name);
    for (int i = 0; i < n; i++) {
        std::printf("%s%.9g", i ? ", " : "", static_cast<double>(values[i]));
    }
    std::printf("]");
}

template <class M>
typename M::Pointer unpacked(igtl::MessageHeader::Pointer& header) {
    typename M::Pointer message = M::New();
    message->SetMessageHeader(header);
    message->AllocatePack();
    const size_t size = message->GetPackBodySize();
    if (std::fread(message->GetPackBodyPointer(), 1, size, stdin) != size ||
        !(message->Unpack(1) & igtl::MessageHeader::UNPACK_BODY)) {
        std::printf(", \"crc\": false");
    }
    return message;
}

void print_position(igtl::MessageHeader::Pointer& header) {
    igtl::PositionMessage::Pointer message = unpacked<igtl::PositionMessage>(header);
    float position[3], quaternion[4];
    message->GetPosition(position);
    message->GetQuaternion(quaternion);
    print_numbers("position", position, 3);
    print_numbers("quaternion", quaternion, 4);
}

void print_tool(igtl::MessageHeader::Pointer& header) {
    igtl::QuaternionTrackingDataMessage::Pointer message = unpacked<igtl::QuaternionTrackingDataMessage>(header);
    const int last = message->GetNumberOfQuaternionTrackingDataElements() - 1;
    igtl::QuaternionTrackingDataElement::Pointer tool;
    message->GetQuaternionTrackingDataElement(last, tool);
    float position[3], quaternion[4];
    tool->GetPosition(position);
    tool->GetQuaternion(quaternion);
    std::printf(", \"last\": %d, \"kind\": %d", last, tool->GetType());
    print_text("name", tool->GetName());
    print_numbers("position", position, 3);
    print_numbers("quaternion", quaternion, 4);
}

template <class M>
void print_start(igtl::MessageHeader::Pointer& header) {
    typename M::Pointer message = unpacked<M>(header);
    std::printf(", \"interval_ms\": %d", message->GetResolution());
    print_text("coordinates", message->GetCoordinateName());
}

void print_types(igtl::MessageHeader::Pointer& header) {
    igtl::CapabilityMessage::Pointer message = unpacked<igtl::CapabilityMessage>(header);
    std::printf(", \"types\": \"");
    for (const std::string& type : message->GetTypes()) {
        std::printf("%s ", type.c_str());
    }
    std::printf("\"");
}

void print_image(igtl::MessageHeader::Pointer& header) {
    igtl::ImageMetaMessage::Pointer message = unpacked<igtl::ImageMetaMessage>(header);
    igtl::ImageMetaElement::Pointer image;
    message->GetImageMetaElement(0, image);
    igtl::TimeStamp::Pointer stamp = igtl::TimeStamp::New();
    image->GetTimeStamp(stamp);
    igtlUint16 size[3];
    image->GetSize(size);
    print_text("name", image->GetName());
    print_text("device", image->GetDeviceName());
    print_text("modality", image->GetModality());
    print_text("patient", image->GetPatientName());
    print_text("id", image->GetPatientID());
    print_numbers("size", size, 3);
    std::printf(", \"scalar\": %d, \"scan_s\": %.9g", image->GetScalarType(), stamp->GetTimeStamp());
}

void print_label(igtl::MessageHeader::Pointer& header) {
    igtl::LabelMetaMessage::Pointer message = unpacked<igtl::LabelMetaMessage>(header);
    igtl::LabelMetaElement::Pointer label;
    message->GetLabelMetaElement(0, label);
    igtlUint16 size[3];
    igtlUint8 rgba[4];
    label->GetSize(size);
    label->GetRGBA(rgba);
    print_text("name", label->GetName());
    print_text("device", label->GetDeviceName());
    print_text("owner", label->GetOwner());
    print_numbers("size", size, 3);
    print_numbers("rgba", rgba, 4);
    std::printf(", \"label\": %d", label->GetLabel());
}

void print_path(igtl::MessageHeader::Pointer& header) {
    igtl::TrajectoryMessage::Pointer message = unpacked<igtl::TrajectoryMessage>(header);
    igtl::TrajectoryElement::Pointer path;
    message->GetTrajectoryElement(0, path);
    igtlFloat32 entry[3], target[3];
    igtlUint8 rgba[4];
    path->GetEntryPosition(entry);
    path->GetTargetPosition(target);
    path->GetRGBA(rgba);
    print_text("name", path->GetName());
    print_text("group", path->GetGroupName());
    print_text("owner", path->GetOwner());
    print_numbers("entry", entry, 3);
    print_numbers("target", target, 3);
    print_numbers("rgba", rgba, 4);
    std::printf(", \"kind\": %d, \"diameter\": %.9g", path->GetType(), path->GetRadius());
}

void print_array(igtl::MessageHeader::Pointer& header) {
    igtl::NDArrayMessage::Pointer message = unpacked<igtl::NDArrayMessage>(header);
    igtl::ArrayBase* array = message->GetArray();
    std::vector<igtlUint16> size = array->GetSize();
    print_numbers("size", size.data(), static_cast<int>(size.size()));
    std::printf(", \"scalar\": %d", message->GetType());
    print_numbers("values", static_cast<igtlFloat32*>(array->GetRawArray()),
                  static_cast<int>(array->GetRawArraySize() / sizeof(igtlFloat32)));
}

void print_surface(igtl::MessageHeader::Pointer& header) {
    igtl::PolyDataMessage::Pointer message = unpacked<igtl::PolyDataMessage>(header);
    const int points = message->GetPoints()->GetNumberOfPoints();
    igtlFloat32 last[3];
    message->GetPoints()->GetPoint(points - 1, last);
    std::printf(", \"points\": %d", points);
    print_numbers("last_point", last, 3);
    igtl::PolyDataCellArray::Pointer polygons = message->GetPolygons();
    std::vector<igtlUint32> cell(polygons->GetCellSize(polygons->GetNumberOfCells() - 1));
    polygons->GetCell(polygons->GetNumberOfCells() - 1, cell.data());
    std::printf(", \"polygons\": %u, \"lines\": %u", polygons->GetNumberOfCells(), message->GetLines()->GetNumberOfCells());
    print_numbers("last_polygon", cell.data(), static_cast<int>(cell.size()));
    igtl::PolyDataAttribute* attribute = message->GetAttribute(0);
    std::vector<igtlFloat32> values(attribute->GetSize() * attribute->GetNumberOfComponents());
    attribute->GetData(values.data());
    print_text("attribute", attribute->GetName());
    print_numbers("values", values.data(), static_cast<int>(values.size()));
}

bool print_next() {
    igtl::MessageHeader::Pointer header = igtl::MessageHeader::New();
    header->InitPack();
    const size_t size = header->GetPackSize();
    if (std::fread(header->GetPackPointer(), 1, size, stdin) != size) {
        return false;
    }
    header->Unpack();
    const std::string type = header->GetDeviceType();
    std::printf("{\"type\": \"%s\"", type.c_str());
    if (type == "POSITION") print_position(header);
    else if (type == "QTDATA") print_tool(header);
    else if (type == "STT_TDATA") print_start<igtl::StartTrackingDataMessage>(header);
    else if (type == "STT_QTDATA") print_start<igtl::StartQuaternionTrackingDataMessage>(header);
    else if (type == "CAPABILITY") print_types(header);
    else if (type == "IMGMETA") print_image(header);
    else if (type == "LBMETA") print_label(header);
    else if (type == "TRAJ") print_path(header);
    else if (type == "NDARRAY") print_array(header);
    else if (type == "POLYDATA") print_surface(header);
    std::printf("}\n");
    return true;
}

void put(igtl::MessageBase* message) {
    message->SetDeviceName("Library");
    message->Pack();
    std::fwrite(message->GetPackPointer(), 1, message->GetPackSize(), stdout);
}

void put_poses() {
    // its shorter forms write beyond their buffer in this version of the library
    igtl::PositionMessage::Pointer position = igtl::PositionMessage::New();
    position->SetPosition(1, 2, 3.5f);
    position->SetQuaternion(0.5f, -0.5f, 0.5f, 0.5f);
    put(position);
    igtl::QuaternionTrackingDataMessage::Pointer tools = igtl::QuaternionTrackingDataMessage::New();
    igtl::QuaternionTrackingDataElement::Pointer tool = igtl::QuaternionTrackingDataElement::New();
    tool->SetName("Probe");
    tool->SetType(igtl::QuaternionTrackingDataElement::TYPE_5D);
    tool->SetPosition(1, 2, 3.5f);
    tool->SetQuaternion(0.5f, -0.5f, 0.5f, 0.5f);
    tools->AddQuaternionTrackingDataElement(tool);
    put(tools);
    igtl::StartQuaternionTrackingDataMessage::Pointer start = igtl::StartQuaternionTrackingDataMessage::New();
    start->SetResolution(50);
    start->SetCoordinateName("Reference");
    put(start);
    igtl::RTSQuaternionTrackingDataMessage::Pointer reply = igtl::RTSQuaternionTrackingDataMessage::New();
    reply->SetStatus(igtl::RTSQuaternionTrackingDataMessage::STATUS_ERROR);
    put(reply);
}

void put_lists() {
    igtl::CapabilityMessage::Pointer types = igtl::CapabilityMessage::New();
    types->SetTypes({"IMAGE", "GET_IMAGE"});
    put(types);
    igtl::ImageMetaMessage::Pointer images = igtl::ImageMetaMessage::New();
    igtl::ImageMetaElement::Pointer image = igtl::ImageMetaElement::New();
    igtl::TimeStamp::Pointer stamp = igtl::TimeStamp::New();
    stamp->SetTime(5u, 0u);
    image->SetName("Head");
    image->SetDeviceName("CT1");
    image->SetModality("CT");
    image->SetPatientName("Doe");
    image->SetPatientID("47");
    image->SetTimeStamp(stamp);
    image->SetSize(512, 256, 3);
    image->SetScalarType(igtl::ImageMessage::TYPE_INT16);
    images->AddImageMetaElement(image);
    put(images);
    igtl::LabelMetaMessage::Pointer labels = igtl::LabelMetaMessage::New();
    igtl::LabelMetaElement::Pointer label = igtl::LabelMetaElement::New();
    label->SetName("Node");
    label->SetDeviceName("L1");
    label->SetLabel(7);
    label->SetRGBA(1, 2, 3, 4);
    label->SetSize(5, 6, 258);
    label->SetOwner("CT1");
    labels->AddLabelMetaElement(label);
    put(labels);
    igtl::TrajectoryMessage::Pointer paths = igtl::TrajectoryMessage::New();
    igtl::TrajectoryElement::Pointer path = igtl::TrajectoryElement::New();
    path->SetName("Way");
    path->SetGroupName("Plan");
    path->SetType(igtl::TrajectoryElement::TYPE_TARGET_ONLY);
    path->SetRGBA(9, 8, 7, 6);
    path->SetEntryPosition(1, 2, 3.5f);
    path->SetTargetPosition(4, 5, 6.5f);
    path->SetRadius(2.5f);
    path->SetOwner("CT1");
    paths->AddTrajectoryElement(path);
    put(paths);
}

void put_arrays() {
    igtlFloat32 values[6] = {1, 2, 3, -4, 5.5f, 6};
    igtl::Array<igtlFloat32> array;
    array.SetSize({2, 3});
    array.SetArray(values);
    igtl::NDArrayMessage::Pointer numbers = igtl::NDArrayMessage::New();
    numbers->SetArray(igtl::NDArrayMessage::TYPE_FLOAT32, &array);
    put(numbers);

    igtl::PolyDataPointArray::Pointer points = igtl::PolyDataPointArray::New();
    points->AddPoint(0, 0, 0);
    points->AddPoint(1, 0, 0);
    points->AddPoint(0, 1.5f, 0);
    igtl::PolyDataCellArray::Pointer polygons = igtl::PolyDataCellArray::New();
    igtlUint32 triangle[3] = {0, 1, 2}, edge[2] = {2, 0};
    polygons->AddCell(3, triangle);
    igtl::PolyDataCellArray::Pointer lines = igtl::PolyDataCellArray::New();
    lines->AddCell(2, edge);
    lines->AddCell(3, triangle);
    igtl::PolyDataAttribute::Pointer attribute = igtl::PolyDataAttribute::New();
    attribute->SetType(igtl::PolyDataAttribute::POINT_SCALAR);
    attribute->SetName("activity");
    attribute->SetSize(3);
    attribute->SetData(values);
    igtl::PolyDataMessage::Pointer surface = igtl::PolyDataMessage::New();
    surface->SetPoints(points);
    surface->SetPolygons(polygons);
    surface->SetLines(lines);
    surface->AddAttribute(attribute);
    put(surface);
}

}  // namespace

int main(int argc, char** argv) {
    if (argc == 2 && std::strcmp(argv[1], "read") == 0) {
        while (print_next()) {
        }
        return 0;
    }
    if (argc == 2 && std::strcmp(argv[1], "make") == 0) {
        put_poses();
        put_lists();
        put_arrays();
        return 0;
    }
    std::fprintf(stderr, "usage: types read | types make\n");
    return 64;
}
